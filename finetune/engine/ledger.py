"""Which items are to be done, which results are there, whose turn it is: each number is given out until it has a result."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

from finetune.engine.kept_results import KeptResults


class Ledger:
    """The numbers of one job. At most `window` items are given out beyond the one whose turn it is."""

    def __init__(self, window: int, kept: KeptResults | None = None) -> None:
        self.window, self.kept = window, kept
        self.turn = 0
        self.end: int | None = None  # how many items there are, once somebody found out
        self._following = 0
        self._again: list[int] = []
        self._results: dict[int, Any] = {}

    @property
    def is_over(self) -> bool:
        return self.end is not None and self.turn >= self.end

    def take(self) -> int | None:
        """The next number to be done; None where there is none for now."""
        if self._again:
            return heapq.heappop(self._again)
        while self._has(self._following):
            self._following += 1
        if self._following >= self.turn + self.window or (self.end is not None and self._following >= self.end):
            return None
        self._following += 1
        return self._following - 1

    def give_back(self, number: int) -> None:
        """Who had it is no more."""
        heapq.heappush(self._again, number)

    def note_end(self, number: int) -> None:
        """There is no item of that number, nor of a higher one."""
        self.end = number if self.end is None else min(self.end, number)

    def add(self, number: int, result: Any) -> None:
        """The result of an item; a second one of the same number changes nothing."""
        if number < self.turn or self._has(number):
            return
        if self.kept is None:
            self._results[number] = result
        else:
            self.kept.write(number, result)

    def results(self) -> Iterator[Any]:
        """What can be handed on now, in order."""
        while not self.is_over and self._has(self.turn):
            number, self.turn = self.turn, self.turn + 1
            yield self.kept.read(number) if self.kept else self._results.pop(number)

    def _has(self, number: int) -> bool:
        return number in (self.kept.found if self.kept else self._results)
