"""Who may run a trial: exactly `max_trials` finish, over any number of processes, starts and kills.

Optuna numbers trials one after another, whoever asks. A new trial may run if fewer than `max_trials` of those with lower
numbers are finished, running or queued. Two processes that ask for the last place get numbers k and k + 1, and the
second sees that k holds it: it fails its own trial and waits. Of `max_trials + 1` trials that run or are done, the last
would have seen `max_trials` before it; so there never are that many. A failed trial never comes back, so a place that
is given up is free for good.

A trial whose process is gone is failed, and whoever asks next tries its values (`search/turns.py`). Nothing is queued in
the study for that: two processes may both take a queued trial out of SQLite. Whether a process lives is known on its own
host by its id and start time; elsewhere by its heartbeat, an attribute of the trial that changes every minute, watched by
the clock of who watches.
"""

from __future__ import annotations

import functools
import logging
import os
import platform
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from finetune.errors import Preempted
from finetune.run.signals import StopRequest
from finetune.search.points import Points
from finetune.search.study import is_exhausted
from finetune.search.turns import GIVEN_UP, OWNER, STOPPED, SURPLUS, Turn, count_given_up, has_twin, next_turn

logger = logging.getLogger(__name__)

HEARTBEAT = "heartbeat"
SECONDS_BETWEEN_BEATS = 60.0
STALE_AFTER = 10 * SECONDS_BETWEEN_BEATS  # seconds without a beat, seen from here
UNOWNED_FOR = 120.0  # seconds between the number and the owner of a trial, at most: a lock may wait for 30
POLL = 1.0
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Slots:
    """The places of a study, as one process of it sees them.

    Args:
        study: any storage.
        total: trials that finish in all, None without a bound.
        here: trials that this folder may run, None without a bound.
        folder: the output folder of this process, which says whose a trial is over several starts.
        stop: a signal while waiting raises Preempted.
        points: all that is to be tried, each once, whatever the sampler.
    """

    def __init__(
        self,
        study: Study,
        *,
        total: int | None,
        here: int | None,
        folder: Path,
        stop: StopRequest,
        points: Points | None = None,
    ) -> None:
        self.study, self.total, self.here, self.stop, self.points = study, total, here, stop, points
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
            turn = next_turn(trials, self.points)
            if self._has_place(trials, turn):
                if (trial := self._ask(trials, turn)) is not None:
                    return trial
                continue
            if turn is None and self.points is not None and not _of(trials, TrialState.RUNNING):
                self._say_left_out(trials, self.points)
                return None
            self._say_waiting(trials)
            time.sleep(POLL)

    def _is_enough(self, trials: Iterable[FrozenTrial]) -> bool:
        finished = [trial for trial in trials if trial.state in FINISHED]
        mine = [trial for trial in finished if trial.user_attrs.get(OWNER, {}).get("folder") == self.me["folder"]]
        return _reached(self.total, finished) or _reached(self.here, mine)

    def _has_place(self, trials: Iterable[FrozenTrial], turn: Turn | None) -> bool:
        """Whether to ask: a trial that somebody queued holds a place already, and must be taken."""
        if _of(trials, TrialState.WAITING):
            return True
        occupied = [trial for trial in trials if trial.state is not TrialState.FAIL]
        return not _reached(self.total, occupied) and (turn is not None or self.points is None)

    def _ask(self, trials: Iterable[FrozenTrial], turn: Turn | None) -> Trial | None:
        queued = _of(trials, TrialState.WAITING)
        trial = self.study.ask() if turn is None or queued else self._begin(turn)
        try:
            return trial if self._take(trial) else None
        except UpdateFinishedTrialError:
            return None  # so late that others have given it up

    def _begin(self, turn: Turn) -> Trial:
        """A running trial with its values and its owner, all at once for whoever looks; `ask` has no such way."""
        attributes = {**turn.attributes, OWNER: self.me}
        fixed = {"fixed_params": turn.values}
        template = create_trial(state=TrialState.RUNNING, user_attrs=attributes, system_attrs=fixed)
        return Trial(self.study, self.study._storage.create_new_trial(self.study._study_id, template_trial=template))

    def _take(self, trial: Trial) -> bool:
        trial.set_user_attr(OWNER, self.me)
        trials = self.study.get_trials(deepcopy=False)
        before = [other for other in trials if other.number < trial.number]
        is_new = not has_twin(trials[trial.number], before, self.points)
        if is_new and not _reached(self.total, [other for other in before if other.state is not TrialState.FAIL]):
            return True
        trial.set_user_attr(SURPLUS, True)
        self.study.tell(trial, state=TrialState.FAIL)
        return False

    def _say_left_out(self, trials: Iterable[FrozenTrial], points: Points) -> None:
        if count := count_given_up(trials, points):
            logger.warning("%d of %d points are left out: each ended every process that tried it.", count, len(points))

    def _say_waiting(self, trials: Iterable[FrozenTrial]) -> None:
        running = [trial.number for trial in _of(trials, TrialState.RUNNING)]
        if running != self._waiting_for:
            self._waiting_for = running
            names = ", ".join(map(str, running)) or "those"
            logger.info("Trials %s of other processes hold the last places; waiting for their end.", names)

    def repair(self) -> int:
        """Fail the trials of processes that are gone, so that others try their values; returns how many."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return sum(self._give_up(trial, "its process is gone") for trial in running if self._is_dead(trial))

    @contextmanager
    def held(self, trial: Trial) -> Iterator[None]:
        """While a trial of this process runs: it beats, and the study learns how it ended where it did not end well.

        Raises:
            Preempted: whoever goes on tries its values again.
            Exception: as the block; the trial is failed.
        """
        try:
            with Heartbeat(trial):
                yield
        except UpdateFinishedTrialError:
            logger.warning("Trial %d was given up by another process, which saw no life here.", trial.number)
        except Preempted:
            self.release(trial)
            raise
        except BaseException:
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            raise

    def release(self, trial: Trial) -> None:
        """Give up a trial of this process, which was stopped: whoever asks next tries its values."""
        self._give_up(self._frozen(trial), STOPPED)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[trial.number]

    def _give_up(self, trial: FrozenTrial, reason: str) -> bool:
        """Mostly one process gets past `tell`; where two do (SQLite), nothing happens twice."""
        try:
            self.study._storage.set_trial_user_attr(trial._trial_id, GIVEN_UP, reason)
            self.study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, UpdateFinishedTrialError):
            return False
        again = next_turn(self.study.get_trials(deepcopy=False), self.points) is not None
        what_next = "its values are tried again" if again else "a new one takes its place"
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


def _of(trials: Iterable[FrozenTrial], state: TrialState) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state is state]


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
