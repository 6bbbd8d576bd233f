"""Commands in processes of their own, a few at a time; a signal is handed on, and all are waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.errors import EXIT_LOCKED
from finetune.run.parent import name_parent
from finetune.run.signals import StopRequest
from finetune.run.workers import usable_cores

POLL = 0.1
PATIENCE, PAUSE = 60.0, 0.5  # seconds that a folder in use is tried again for, and between
DEVICES = "CUDA_VISIBLE_DEVICES"
THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Job:
    """A command, and the files for what it prints (`.out`) and logs (`.err`)."""

    name: str
    command: list[str]
    output: Path


Running = dict[int, tuple[Job, subprocess.Popen]]  # by place


def run_jobs(jobs: Sequence[Job], *, processes: int, stop: StopRequest, ended: Callable[[Job, int], None]) -> None:
    """Run every job, `processes` at a time; `ended(job, exit code)` is called as each ends.

    After a signal no job is begun, and those that run get SIGTERM once: they save their state and end. A job whose folder is
    in use is begun again after the others, for a while: the run of a sweep that was killed may be saving its state there.

    Raises:
        Preempted: a signal came.
    """
    waiting, running, refused = list(jobs), Running(), dict[str, float]()
    told = False
    with stop.deferred():
        while running or (waiting and not stop.requested):
            if stop.requested and not told:
                told = True
                _terminate(running)
            for place in sorted(set(range(processes)) - set(running)):
                if waiting and not stop.requested:
                    running[place] = _start(waiting.pop(0), place, processes)
            time.sleep(POLL)
            for place, code in _exit_codes(running).items():
                job, _ = running.pop(place)
                since = time.monotonic() - refused.setdefault(job.name, time.monotonic())
                if code == EXIT_LOCKED and since < PATIENCE and not stop.requested:
                    time.sleep(PAUSE)
                    waiting.append(job)
                else:
                    ended(job, code)


def _terminate(running: Running) -> None:
    for _, process in running.values():
        process.send_signal(signal.SIGTERM)


def _exit_codes(running: Running) -> dict[int, int]:
    """Those of the processes that have ended, by place."""
    polled = {place: process.poll() for place, (_, process) in running.items()}
    return {place: code for place, code in polled.items() if code is not None}


def _start(job: Job, place: int, processes: int) -> tuple[Job, subprocess.Popen]:
    """In a session of its own: Ctrl-C comes once, from here."""
    job.output.parent.mkdir(parents=True, exist_ok=True)
    with job.output.with_suffix(".out").open("wb") as out, job.output.with_suffix(".err").open("ab") as err:
        process = subprocess.Popen(
            job.command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, **share_machine(os.environ, place, processes), **name_parent()},
            start_new_session=True,
        )
    return job, process


def share_machine(environment: Mapping[str, str], place: int, processes: int) -> dict[str, str]:
    """What one of several processes takes of the machine: every n-th visible GPU, its share of the cores.

    Variables that leave nothing to share out (one GPU, or none named; a number of threads) stay as they are.
    """
    shares = {}
    devices = [device for device in environment.get(DEVICES, "").split(",") if device]
    if processes > 1 and len(devices) > 1:
        shares[DEVICES] = ",".join(devices[place % len(devices) :: processes])
    if processes > 1 and THREADS not in environment:
        shares[THREADS] = str(max(1, usable_cores() // processes))
    return shares
