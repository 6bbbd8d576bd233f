"""Processes of a cluster at work on numbered items, each result once, in order, whatever dies on the way.

Why not `ray.data`'s map_batches: it retries the work of a process that died on that same process, which then waits for a
place on a cluster that may have lost the node for good; it needs to know how many items there are; and it keeps no result
for a run that is started again. Here an item of a dead process goes to whoever is free, and counts when it is given.
"""

from __future__ import annotations

import logging
import pickle
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from finetune.engine.actor import Actor, Answer, Order, Refusal
from finetune.engine.kept_results import KeptResults
from finetune.engine.ledger import Ledger
from finetune.errors import Preempted, RunError

logger = logging.getLogger(__name__)

IN_FLIGHT_PER_PROCESS = 4  # results that may wait for one that is late, so that memory stays flat
MOST_DEATHS = 3  # of processes by one item: it is what kills them
SECONDS_BETWEEN_LOOKS = 0.5  # for a signal to be heeded
SECONDS_TO_START = 300.0  # without a single process that works


@dataclass(frozen=True)
class Size:
    """How many processes, and what each takes."""

    processes: int
    cores: int
    gpus: int = 0


class Pool:
    """Processes that do one job."""

    def __init__(self, ray: Any, order: Order, size: Size) -> None:
        self.ray, self.order, self.size = ray, order, size
        self._actor = ray.remote(num_cpus=size.cores, num_gpus=size.gpus, max_restarts=0)(Actor)
        self._starting: dict[Any, Any] = {}  # answer that is waited for -> process
        self._busy: dict[Any, tuple[Any, int]] = {}  # the same, and the item
        self._idle: list[Any] = []
        self._deaths: Counter[int | None] = Counter()
        self._said: set[str] = set()
        self._works_since = time.monotonic()
        for _ in range(size.processes):
            self._start()

    def _start(self) -> None:
        actor = self._actor.remote(dict(self.order.environment))
        self._starting[actor.open.remote(self.order)] = actor

    def close(self) -> None:
        """End all processes."""
        for actor in (*self._idle, *self._starting.values(), *(actor for actor, _ in self._busy.values())):
            self.ray.kill(actor)

    def results(self, kept: KeptResults | None) -> Iterator[Any]:
        """The results of items 0, 1, ... up to the last there is.

        Raises:
            RunError: an item kills every process that takes it, or no process can be started. DataError: as the job.
        """
        ledger = Ledger(self.size.processes * IN_FLIGHT_PER_PROCESS, kept)
        while not ledger.is_over:
            yield from ledger.results()
            self._hand_out(ledger)
            self._wait(ledger)

    def _hand_out(self, ledger: Ledger) -> None:
        while self._idle and (number := ledger.take()) is not None:
            actor = self._idle.pop()
            self._busy[actor.make.remote(number)] = (actor, number)

    def _wait(self, ledger: Ledger) -> None:
        waiting = [*self._busy, *self._starting]
        with saying_who_stops():
            ready = self.ray.wait(waiting, timeout=SECONDS_BETWEEN_LOOKS)[0] if waiting else []
        for reference in ready:
            actor, number = self._busy.pop(reference, None) or (self._starting.pop(reference), None)
            answer = self._answer_of(reference, number)
            if answer is None:
                if number is not None:
                    ledger.give_back(number)
                self._start()
                continue
            self._idle.append(actor)
            if number is not None:
                self._note(answer, number, ledger)
        self._require_work()

    def _answer_of(self, reference: Any, number: int | None) -> Answer | str | None:
        """What a process says; None where it is dead.

        Raises:
            FinetuneError: what it found wrong.
        """
        try:
            with saying_who_stops():
                answer = self.ray.get(reference)
        except self.ray.exceptions.RayActorError as error:
            self._note_death(number, error)
            return None
        except self.ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        if isinstance(answer, Refusal):
            raise answer.error()
        return answer

    def _note(self, answer: Any, number: int, ledger: Ledger) -> None:
        for level, text in answer.said:
            if text not in self._said:
                self._said.add(text)
                logger.log(level, "%s", text)
        if answer.content is None:
            ledger.note_end(number)
        else:
            ledger.add(number, pickle.loads(answer.content))

    def _note_death(self, number: int | None, error: Exception) -> None:
        self._deaths[number] += 1
        doing = "was getting ready" if number is None else f"had part {number + 1}"
        logger.warning("A process of the cluster that %s has ended (%s).", doing, _first_line(error))
        if number is not None and self._deaths[number] >= MOST_DEATHS:
            reason = f"part {number + 1} of the work ended {MOST_DEATHS} processes one after the other"
            raise RunError(f"{reason}, usually because memory ran out: {_first_line(error)}") from error

    def _require_work(self) -> None:
        """Raises:
        RunError: for a long time there has been no process that works.
        """
        if self._busy or self._idle:
            self._works_since = time.monotonic()
        elif time.monotonic() - self._works_since > SECONDS_TO_START:
            takes = f"{self.size.cores} processors" + (f" and {self.size.gpus} GPU" if self.size.gpus else "")
            raise RunError(f"the cluster has had no room for a process of {takes} for {SECONDS_TO_START:.0f} seconds.")


@contextmanager
def saying_who_stops() -> Iterator[None]:
    """Where a signal comes while Ray waits, it raises a bare KeyboardInterrupt in place of what the handler raised."""
    try:
        yield
    except Preempted:
        raise
    except KeyboardInterrupt as error:
        raise Preempted("stopped by a signal; run the same command again to go on") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
