"""Progress of long work: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import logging
import sys
import threading
import time
from types import TracebackType

from tqdm import tqdm

from finetune.run.launcher import is_main_process

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30.0

# tqdm's own lock is shared with forked processes: one that is killed while it holds the lock would hang all others.
tqdm.set_lock(threading.RLock())


class Progress:
    """Counts work done, with its rate.

    >>> with Progress("Tokenizing", total=1_000_000, unit="B") as progress:
    ...     progress.advance(65_536)
    """

    def __init__(self, description: str, *, total: int | None = None, unit: str = "it") -> None:
        self.description, self.total, self.unit = description, total, unit
        self.done = 0

    def __enter__(self) -> Progress:
        self.started = self.said = time.monotonic()
        hidden = not (sys.stderr.isatty() and is_main_process())
        tqdm.monitor_interval = (
            0  # its watching thread is not needed, and its start swallows what signal handlers raise
        )
        self.bar = tqdm(
            total=self.total, desc=self.description, unit=self.unit, unit_scale=True, disable=hidden, leave=False
        )
        return self

    def advance(self, amount: int = 1) -> None:
        """Count `amount` more as done."""
        self.done += amount
        self.bar.update(amount)
        now = time.monotonic()
        if self.bar.disable and now - self.said >= SECONDS_BETWEEN_LINES:
            self.said = now
            logger.info("%s: %s.", self.description, self.describe())

    def describe(self) -> str:
        """`1.2M of 3.4M B (35 %), 56.7k B/s`."""
        share = ""
        if self.total:
            share = f" of {_short(self.total)} {self.unit} ({100 * self.done / self.total:.0f} %)"
        rate = self.done / max(time.monotonic() - self.started, 1e-9)
        return f"{_short(self.done)}{share or ' ' + self.unit}, {_short(rate)} {self.unit}/s"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.bar.close()


def _short(number: float) -> str:
    return tqdm.format_sizeof(number) if number >= 1000 else f"{number:.0f}"
