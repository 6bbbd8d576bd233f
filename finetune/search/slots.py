"""Who may run a trial: exactly `max_trials` finish, over any number of processes, starts and kills.

Optuna numbers trials one after another, whoever asks. A new trial may run if fewer than `max_trials` of those with lower
numbers are finished, running or queued. Two processes that ask for the last place get numbers k and k + 1, and the
second sees that k holds it: it fails its own trial and waits. Of `max_trials + 1` trials that run or are done, the last
would have seen `max_trials` before it; so there never are that many. A failed trial never comes back, so a place that
is given up is free for good.

A trial whose process is gone is failed, and its values are queued for whoever asks next. Whether a process lives is known
on its own host by its id and start time; elsewhere by its heartbeat, an attribute of the trial that changes every
minute, watched by the clock of who watches.
"""

from __future__ import annotations

import functools
import logging
import os
import platform
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from finetune.run.signals import StopRequest
from finetune.search.study import is_exhausted

logger = logging.getLogger(__name__)

OWNER, HEARTBEAT, SURPLUS, RETRY = "owner", "heartbeat", "surplus", "retry"
SECONDS_BETWEEN_BEATS = 60.0
STALE_AFTER = 10 * SECONDS_BETWEEN_BEATS  # seconds without a beat, seen from here
UNOWNED_FOR = 120.0  # seconds between the number and the owner of a trial, at most: a lock may wait for 30
POLL = 1.0
RETRIES = 3
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Slots:
    """The places of a study, as one process of it sees them.

    Args:
        study: any storage.
        total: trials that finish in all, None without a bound.
        here: trials that this folder may run, None without a bound.
        folder: the output folder of this process, which says whose a trial is over several starts.
        stop: a signal while waiting raises Preempted.
    """

    def __init__(self, study: Study, *, total: int | None, here: int | None, folder: Path, stop: StopRequest) -> None:
        self.study, self.total, self.here, self.stop = study, total, here, stop
        self.me = {**_this_process(), "folder": str(folder.resolve())}
        self._seen: dict[tuple[int, Any], float] = {}
        self._waiting_for: list[int] = []

    def claim(self) -> Trial | None:
        """A trial of this process's own, or None when no more are wanted here. Waits while others hold the last places."""
        while True:
            if self.stop.requested:
                self.stop.raise_preempted()
            self.repair()
            trials = self.study.get_trials(deepcopy=False)
            if self._is_enough(trials) or is_exhausted(self.study):
                return None
            if self._has_place(trials) and (trial := self._ask()) is not None:
                return trial
            self._say_waiting(trials)
            time.sleep(POLL)

    def _is_enough(self, trials: Iterable[FrozenTrial]) -> bool:
        finished = [trial for trial in trials if trial.state in FINISHED]
        mine = [trial for trial in finished if trial.user_attrs.get(OWNER, {}).get("folder") == self.me["folder"]]
        return _reached(self.total, finished) or _reached(self.here, mine)

    def _has_place(self, trials: Iterable[FrozenTrial]) -> bool:
        """Whether to ask: a queued trial holds a place already, and must be taken by somebody."""
        occupied = [trial for trial in trials if trial.state is not TrialState.FAIL]
        return not _reached(self.total, occupied) or any(trial.state is TrialState.WAITING for trial in occupied)

    def _ask(self) -> Trial | None:
        trial = self.study.ask()
        try:
            return trial if self._take(trial) else None
        except UpdateFinishedTrialError:
            return None  # so late that others have given it up

    def _take(self, trial: Trial) -> bool:
        trial.set_user_attr(OWNER, self.me)
        before = [other for other in self.study.get_trials(deepcopy=False) if other.number < trial.number]
        twin = RETRY in trial.user_attrs and any(
            other.user_attrs.get(RETRY) == trial.user_attrs[RETRY] for other in before
        )  # two processes gave the same trial up at once, as some databases let them
        if not twin and not _reached(self.total, [other for other in before if other.state is not TrialState.FAIL]):
            return True
        trial.set_user_attr(SURPLUS, True)
        self.study.tell(trial, state=TrialState.FAIL)
        return False

    def _say_waiting(self, trials: Iterable[FrozenTrial]) -> None:
        running = [trial.number for trial in trials if trial.state is TrialState.RUNNING]
        if running != self._waiting_for:
            self._waiting_for = running
            names = ", ".join(map(str, running)) or "those"
            logger.info("Trials %s of other processes hold the last places; waiting for their end.", names)

    def repair(self) -> int:
        """Fail the trials of processes that are gone, and queue their values; returns how many."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return sum(self._give_up(trial, "its process is gone") for trial in running if self._is_dead(trial))

    def release(self, trial: Trial, reason: str) -> None:
        """Give up a trial of this process: its values are queued for the next who asks."""
        self._give_up(self._frozen(trial), reason)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[trial.number]

    def _give_up(self, trial: FrozenTrial, reason: str) -> bool:
        """Mostly one process gets past `tell`; where two do (SQLite), the values are queued twice, and taken once."""
        try:
            self.study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, UpdateFinishedTrialError):
            return False
        retries = trial.user_attrs.get(RETRY, {}).get("retries", 0)
        again = bool(trial.params) and retries < RETRIES
        if again:
            first = trial.user_attrs.get(RETRY, {}).get("first", trial.number)
            attributes = {RETRY: {"first": first, "retries": retries + 1}}
            self.study.enqueue_trial(trial.params, user_attrs=attributes)
        what_next = "its values are queued again" if again else "a new one takes its place"
        logger.warning("Trial %d is given up (%s); %s.", trial.number, reason, what_next)
        return True

    def _is_dead(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get(OWNER)
        if owner is None:
            return self._unchanged_for(trial.number, None) > UNOWNED_FOR
        if owner["host"] == self.me["host"]:
            return _start_of(owner["pid"]) != owner["started"]
        return self._unchanged_for(trial.number, trial.user_attrs.get(HEARTBEAT, 0)) > STALE_AFTER

    def _unchanged_for(self, number: int, beat: object) -> float:
        """Seconds since this process first saw that beat of a trial."""
        now = time.monotonic()
        return now - self._seen.setdefault((number, beat), now)


def _reached(bound: int | None, items: list[Any]) -> bool:
    return bound is not None and len(items) >= bound


class Heartbeat:
    """Counts an attribute of a trial up while it runs; `lost` says that others have given the trial up meanwhile."""

    def __init__(self, trial: Trial, seconds: float = SECONDS_BETWEEN_BEATS) -> None:
        self.trial, self.seconds, self.lost = trial, seconds, False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="trial heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        count = 0
        while not self._ended.wait(self.seconds):
            count += 1
            try:
                self.trial.set_user_attr(HEARTBEAT, count)
            except UpdateFinishedTrialError:
                self.lost = True
                return
            except Exception as error:  # a database that is away for a moment must not end the trial
                logger.warning("Trial %d: a heartbeat could not be stored (%s).", self.trial.number, error)


@functools.cache
def _host() -> str:
    """One running system with one table of processes: name, boot and process namespace."""
    facts = [platform.node()]
    with suppress(OSError):  # a system without /proc
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    return "/".join(facts)


def _this_process() -> dict[str, Any]:
    return {"host": _host(), "pid": os.getpid(), "started": _start_of(os.getpid())}


def _start_of(pid: int) -> str | None:
    """When a process began, in ticks since boot, so that an id that is used again is told apart; None where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else fields[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(pid, 0)  # a system without /proc
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"
