"""What a Ray process does: it becomes ready for a job once, then gives the result of any item by its number."""

from __future__ import annotations

import logging
import os
import pickle
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.errors import DataError, FinetuneError, Problem, ProblemError, RunError
from finetune.run.cache import VARIABLE as CACHE
from finetune.run.engines import Job
from finetune.run.manifest import library_versions
from finetune.run.remote_files import fetch

COMPARED = ("torch", "transformers", "tokenizers", "numpy")  # others of these, other bits


@dataclass(frozen=True)
class Order:
    """What a process is told before it is given items."""

    job: bytes  # pickled: what it imports must find the variables below
    environment: Mapping[str, str]
    program: str
    folder: str  # where relative paths begin
    files: Sequence[Path]
    addresses: Mapping[str, str]  # path -> where it can be fetched
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Refusal:
    """What a process found wrong: the parts of an error, because errors lose some when they are pickled."""

    kind: type[FinetuneError]
    parts: tuple[Problem | str, ...]

    @classmethod
    def of(cls, error: FinetuneError) -> Refusal:
        """With the name of this machine in front."""
        here = f"on node {platform.node()}: "
        if isinstance(error, ProblemError):
            return cls(type(error), tuple(replace(item, found=here + item.found) for item in error.problems))
        return cls(RunError, (here + str(error),))

    def error(self) -> FinetuneError:
        return self.kind(*self.parts)


@dataclass(frozen=True)
class Answer:
    """The pickled result of an item (None: there is no such item), and the warnings on the way."""

    content: bytes | None
    said: Sequence[tuple[int, str]] = ()


class Forward:
    """The items of a job by their numbers: read on where they come in order, from the first again where they do not."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._items: Iterator[Any] = iter(())
        self._next: int | None = None

    def find(self, number: int) -> tuple[Any] | None:
        """The item, in a tuple; None where there are fewer."""
        if self._next is None or number < self._next:
            self._items, self._next = self._job.read(), 0
        for item in self._items:
            self._next += 1
            if self._next == number + 1:
                return (item,)
        self._next = None
        return None


class Actor:
    """One process of a cluster."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)  # before anything heavy is imported
        self._log = Heard()

    def open(self, order: Order) -> Refusal | str:
        """Get ready: the name of this machine, or why not."""
        sys.argv[0] = order.program  # which records name
        try:
            self._check(order)
            self._job: Job = pickle.loads(order.job)  # by the process that started this one, nobody else
        except FinetuneError as error:
            return Refusal.of(error)
        self._items = Forward(self._job)
        logging.getLogger().addHandler(self._log)
        return platform.node()

    def make(self, number: int) -> Refusal | Answer:
        """The result of one item."""
        try:
            found = self._items.find(number)
            results = list(self._job.work(iter(found))) if found else []
        except FinetuneError as error:
            return Refusal.of(error)
        return Answer(pickle.dumps(results[0]) if results else None, self._log.take())

    def _check(self, order: Order) -> None:
        if not Path(order.folder).is_dir():
            remedy = "start the command in a folder that all nodes see"
            raise DataError(
                Problem("the folder in which the command was started is not there", remedy=remedy, path=order.folder)
            )
        os.chdir(order.folder)
        own = library_versions()
        differing = [name for name in COMPARED if own.get(name) != order.versions.get(name)]
        if differing:
            told = ", ".join(f"{name} is {own.get(name)} and not {order.versions.get(name)}" for name in differing)
            raise DataError(Problem(told, "results would differ", "install the same versions on all nodes"))
        for path, address in order.addresses.items():
            if Path(path) in order.files and fetch(address) != Path(path):
                raise DataError(Problem(f"{address} lies elsewhere here", remedy=f"set {CACHE} alike on all nodes"))
        missing = [path for path in order.files if not path.exists()]
        remedy = "put it where all nodes see it under this name, or name it by an address (s3://, ...)"
        if missing:
            raise DataError(*(Problem("this is not there", remedy=remedy, path=path) for path in missing))


class Heard(logging.Handler):
    """Keeps warnings, which the process that the user watches is to say."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append((record.levelno, record.getMessage()))

    def take(self) -> list[tuple[int, str]]:
        taken, self._said = self._said, []
        return taken
