"""Exceptions that carry their data; the command line turns them into sentences and exit codes.

A `Problem` is one thing that a user can mend: where it is, what was found, what is allowed, what to do. Rooms raise
`UsageError` (what was typed) or `DataError` (what was read) with every problem they found, never only the first.
`ProblemList` collects the problems of several rooms, so that a run reports all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NON_FINITE = 3
EXIT_LOCKED = 4
EXIT_PREEMPTED = 75
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Problem:
    """One thing wrong with what a user gave. Its text reads `path:line: found; allowed; remedy`."""

    found: str
    allowed: str = ""
    remedy: str = ""
    path: str | Path | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = "" if self.path is None else f"{self.path}: " if self.line is None else f"{self.path}:{self.line}: "
        return place + "; ".join(part for part in (self.found, self.allowed, self.remedy) if part) + "."


class FinetuneError(Exception):
    """Base of everything that the command line reports without a traceback."""

    exit_code = EXIT_FAILED
    status = "failed"


class ProblemError(FinetuneError):
    """The user's arguments or data are wrong; `problems` holds all that was found, each once (a file may be read twice)."""

    exit_code = EXIT_USAGE

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = tuple(dict.fromkeys(Problem(item) if isinstance(item, str) else item for item in problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UsageError(ProblemError):
    """What was typed is wrong."""


class DataError(ProblemError):
    """What a file, a folder, a model or a tokenizer holds is wrong."""


class RunError(FinetuneError):
    """The machine failed: disk full, out of memory, no network."""


class NonFiniteError(FinetuneError):
    """Training produced a loss or a gradient that is not a finite number."""

    exit_code = EXIT_NON_FINITE

    def __init__(self, quantity: str, value: float, step: int) -> None:
        self.quantity, self.value, self.step = quantity, value, step
        super().__init__(
            f"{quantity} became {value} at step {step}; lower --learning_rate, raise --warmup_steps, or train in "
            "another precision. Checkpoints that were saved before are kept."
        )


class LockedError(FinetuneError):
    """Another live process holds the output folder."""

    exit_code = EXIT_LOCKED
    status = "locked"

    def __init__(self, folder: str | Path, holder: str) -> None:
        self.folder, self.holder = folder, holder
        super().__init__(f"{folder} is in use by {holder}; wait for that run or choose another --output_dir.")


class Preempted(KeyboardInterrupt):
    """A signal asked the run to stop; its state is saved and the same command goes on from there.

    No `Exception`: what guards against everything (`except Exception` around a tracker, a tokenizer, a database) must not
    swallow a SIGTERM. Libraries clean up after a KeyboardInterrupt as after an error, and let it pass.
    """

    exit_code = EXIT_PREEMPTED
    status = "preempted"


class ProblemList(list[Problem]):
    """Problems gathered from several places, raised together.

    >>> problems = ProblemList()
    >>> rows = problems.attempt(read_rows, path)   # None where read_rows raised a ProblemError
    >>> problems.raise_any()
    """

    def attempt(self, function: Callable[..., Result], *args: object, **kwargs: object) -> Result | None:
        """Call `function`; keep the problems of a `ProblemError` and return None instead of raising."""
        try:
            return function(*args, **kwargs)
        except ProblemError as error:
            self.extend(error.problems)
            return None

    def add(self, problems: Iterable[Problem]) -> None:
        """Add problems that are not known yet."""
        self.extend(problem for problem in problems if problem not in self)

    def raise_any(self, kind: type[ProblemError] = DataError) -> None:
        """Raise all collected problems as one error, if there are any."""
        if self:
            raise kind(*self)
