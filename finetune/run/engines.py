"""Work that falls into independent items, and the engine that does it where it is not this process.

An engine gives the result of every item once, in the order of the items. What a task hands it is a `Job`: picklable, so that
another process can read the items itself; the engine tells it numbers, and no input goes through the process that asks.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Key = Callable[[], Any]  # what decides every result, for JSON; asked for where results are kept, since it may read much


class Job(Protocol):
    """Items and what is done with each. Unpickled it is ready to work: a model is loaded then, once a process."""

    def read(self) -> Iterator[Any]:
        """All items from the first on, the same ones each time."""

    def work(self, items: Iterator[Any]) -> Iterator[Any]:
        """One result for each item, in their order."""


@dataclass(frozen=True)
class Needs:
    """What a job takes where it is done.

    `processes`: None leaves their number to the engine, and to each the processors that a process here would use;
    `one_core`: each takes one. `files` every machine must see. `kept` is where finished results (bytes) wait for the
    same command to be started again, if it is stopped; `key` decides whether they are of the same work.
    """

    files: Sequence[Path] = ()
    processes: int | None = None
    one_core: bool = False
    accelerated: bool = False  # by a GPU, where there are some
    kept: Path | None = None
    key: Key | None = None

    def forget(self) -> None:
        """The work is done, by whomever: nothing needs to wait any more."""
        if self.kept is not None:
            shutil.rmtree(self.kept, ignore_errors=True)


@dataclass(frozen=True)
class Keeping:
    """Where an engine keeps finished results for a command that is started again, and how they are bytes there."""

    folder: Path
    key: Key
    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes], Any]


def kept_beside(output: Path) -> Path:
    """The folder in which finished results of an output wait."""
    return output.parent / f".{output.name}.parts"


class Engine(Protocol):
    """Somebody else who works."""

    def work_on(self, job: Job, needs: Needs) -> Iterator[Any]:
        """The results of all items in order, each once."""

    def close(self) -> None:
        """Let go of what was started or joined."""


@dataclass(frozen=True)
class Reread:
    """An iterable that calls `function(*arguments)` whenever it is iterated; picklable where these are."""

    function: Callable[..., Iterator[Any]]
    arguments: tuple[Any, ...]
    files: Sequence[Path] = ()

    def __iter__(self) -> Iterator[Any]:
        return self.function(*self.arguments)


@dataclass(frozen=True)
class Mapped:
    """The job of a function over items; `pack` is what makes bytes of its results, where those are asked for."""

    function: Callable[[Any], Any]
    items: Iterable[Any]
    pack: Callable[[Any], bytes] | None = None

    def read(self) -> Iterator[Any]:
        return iter(self.items)

    def work(self, items: Iterator[Any]) -> Iterator[Any]:
        results = map(self.function, items)
        return results if self.pack is None else map(self.pack, results)


_engine: Engine | None = None


@contextmanager
def working_by(engine: Engine) -> Iterator[None]:
    """Inside, whatever can be shared out is done by `engine`."""
    global _engine
    before, _engine = _engine, engine
    try:
        yield
    finally:
        _engine = before


def release_engine() -> None:
    """Nothing more is shared out in this command: what the engine holds is free for others from now on."""
    global _engine
    if _engine is not None:
        _engine.close()
    _engine = None


def find_engine() -> Engine | None:
    """The engine that works in place of this process; None: this process does."""
    return _engine
