"""Several processes for one run on this machine, by torch's own launcher, with what that one lacks.

torchrun turns every exit code into 1, dies of SIGUSR1, and kills whoever has not ended thirty seconds after the first.
Here the processes say themselves how they ended (`siblings.py`); signals are handed on to them, and a death of the launcher
is a SIGTERM to each.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from finetune.arguments.processes import OFF, ProcessArguments
from finetune.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_PREEMPTED, Problem, UsageError
from finetune.run.folders_aside import temporary_folder
from finetune.run.launcher import is_launched
from finetune.run.process_exit import say_error
from finetune.run.siblings import SECONDS_BETWEEN_LOOKS, VARIABLE, Siblings
from finetune.run.signals import ANNOUNCES, SIGNALS

ACCELERATORS = ("nvidia[0-9]*", "kfd", "dxg")  # without any of them torch need not be asked
ORDERLY = (EXIT_DONE, EXIT_PREEMPTED)
SECONDS_OF_GRACE = 10.0  # for the others once one process has failed: they wait for it where no signal reaches them
ONE_REQUEST = 1.0  # seconds in which a signal that comes twice (`timeout` sends to the process and to its group) is one
LEFT_TO_TORCH = "SIGQUIT"

Ending = dict[str, Any]  # code, status, result, reason


def count_gpus() -> int:
    """How many GPUs are visible; torch is asked only where the machine has any."""
    if not any(any(Path("/dev").glob(pattern)) for pattern in ACCELERATORS):
        return 0
    import torch

    return torch.cuda.device_count()


def resolve_processes(asked: ProcessArguments, *, on_processor: bool, why_one: str | None = None) -> int:
    """How many processes this one is to start; 1 where it does the work itself, as when a launcher has started it.

    Args:
        asked: what the user gave.
        on_processor: no GPU is used.
        why_one: what keeps this command from working in several processes, in words.

    Raises:
        UsageError: more are asked for than there are GPUs, or than can share this work.
    """
    if is_launched():
        return 1
    if why_one is not None:
        if (asked.nproc or 1) > 1:
            raise UsageError(Problem(f"--nproc {asked.nproc}: {why_one}", remedy="drop it"))
        return 1
    gpus = 0 if on_processor else count_gpus()
    if asked.nproc is None:
        return max(gpus, 1) if asked.multi_gpu != OFF else 1
    if asked.nproc > max(gpus, 1) and gpus:
        found = f"--nproc {asked.nproc} is more than the {gpus} GPU{'s' * (gpus > 1)} that can be seen here"
        raise UsageError(Problem(found, remedy="give a smaller number, or add --use_cpu True"))
    return asked.nproc


def launch_processes(count: int) -> Ending:
    """Start the command of this process `count` times as one run, wait for all of them, and say how it ended."""
    with temporary_folder("finetune-launch-") as folder:
        siblings = Siblings(os.getpid(), folder)
        os.environ[VARIABLE] = siblings.spell()
        os.environ.setdefault("OMP_NUM_THREADS", str(max(len(os.sched_getaffinity(0)) // count, 1)))
        watch = Watch(siblings, count)
        watch.begin()
        try:
            codes = run_agent(count, folder)
        finally:
            watch.end()
            del os.environ[VARIABLE]
        return settle(siblings.ends(), codes, watch, count)


def run_agent(count: int, folder: Path) -> dict[int, int]:
    """Rank -> exit code, or minus the signal that ended it, of the processes that did not end with 0."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, launch_agent

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # it shows tracebacks of every exit code
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=f"finetune-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "torch")),
        signals_to_handle=LEFT_TO_TORCH,
    )
    try:
        launch_agent(config, sys.executable, list(sys.argv))
    except ChildFailedError as error:
        return {rank: failure.exitcode for rank, failure in error.failures.items()}
    except SignalException as error:
        return {0: -int(error.sigval)}
    return {}


class Watch:
    """Hands signals on to all processes, whenever they are ready for them, and ends those that wait for a failed one.

    The first signal is theirs; a second SIGTERM or SIGINT ends all at once, unless the first process has ended by then.
    """

    def __init__(self, siblings: Siblings, count: int) -> None:
        self.siblings, self.count = siblings, count
        self.asked: list[int] = []  # signals, in their order
        self.cut_off = False
        self._asked_at = 0.0
        self._given: dict[int, int] = {}  # rank -> how many of `asked` it got
        self._failed_at: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="processes", daemon=True)

    def begin(self) -> None:
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        is_second = number != ANNOUNCES and any(item != ANNOUNCES for item in self.asked)
        if is_second and (now - self._asked_at < ONE_REQUEST or 0 in self.siblings.ends()):
            return
        if is_second:
            os.write(2, f"{signal.Signals(number).name} again: stopping at once.\n".encode())
            self.cut_off = True
        self._asked_at = now
        self.asked.append(number)

    def _look(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN_LOOKS):
            processes = self.siblings.processes()
            for rank, process in processes.items():
                for number in self.asked[self._given.get(rank, 0) :]:
                    send(process, signal.SIGKILL if self.cut_off else number)
                self._given[rank] = len(self.asked)
            self._end_waiting(processes)

    def _end_waiting(self, processes: Mapping[int, int]) -> None:
        ends = self.siblings.ends()
        if self._failed_at is None:
            self._failed_at = time.monotonic() if any(end["code"] not in ORDERLY for end in ends.values()) else None
        elif time.monotonic() - self._failed_at > SECONDS_OF_GRACE:
            for rank in processes.keys() - ends.keys():
                send(processes[rank], signal.SIGKILL)


def send(process: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def settle(ends: Mapping[int, Mapping[str, Any]], codes: Mapping[int, int], watch: Watch, count: int) -> Ending:
    """How the run ended: as its first process says, unless another failed before, or one went without a word."""
    if watch.cut_off:
        return {"code": EXIT_INTERRUPTED, "status": "failed", "reason": "interrupted twice: nothing was saved"}
    silent = {rank: code for rank, code in codes.items() if rank not in ends}
    speaker = find_speaker(ends, asked=bool(watch.asked))
    told = ends.get(speaker)
    if told is not None and (told["code"] not in ORDERLY or not silent or watch.asked):
        ending = {key: value for key, value in told.items() if key != "at"}
        return _with_exit_code(ending, codes.get(speaker, EXIT_DONE))
    reason = "; ".join(f"process {rank} of {count} {_how(code)}" for rank, code in sorted(silent.items()))
    say_error(f"error: {reason}.")
    return {"code": EXIT_FAILED, "status": "failed", "reason": f"{reason}; run the same command again to go on."}


def find_speaker(ends: Mapping[int, Mapping[str, Any]], *, asked: bool) -> int:
    """The process whose end is that of the run: the first, or the one that failed before it, in another way."""
    own = ends.get(0, {}).get("code")
    failed = [rank for rank, end in ends.items() if end["code"] not in ORDERLY]
    if not failed or (own == EXIT_PREEMPTED and asked):
        return 0
    first = min(failed, key=lambda rank: ends[rank]["at"])
    return 0 if own == ends[first]["code"] else first


def _with_exit_code(ending: Ending, code: int) -> Ending:
    """What a process said, unless it could not end so: a disk that took no more of its results, say."""
    if ending["code"] == EXIT_DONE and code > 0:
        return {**ending, "code": code, "status": "failed", "reason": "results could not be written to standard output"}
    return ending


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code} and no word"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was killed by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
