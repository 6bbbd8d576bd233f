"""The text that tokenizers are trained on: any number of files, cleaned line by line, counted, sampled on request.

What comes out depends on the content and the settings alone, never on the number of worker processes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from finetune.data.text import TextChunk, explain_unreadable, read_chunks
from finetune.errors import DataError, Problem
from finetune.run.progress import Progress
from finetune.run.workers import map_in_order, usable_cores

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class LineRules:
    """Which lines are trained on, and how they are cleaned: stripped, empty ones dropped.

    `space_token` replaces every space. Lines of more than `longest` bytes, and lines with a character of `reserved`,
    are left out and counted.
    """

    lowercase: bool = False
    space_token: str | None = None
    longest: int | None = None
    reserved: str = ""

    def clean(self, lines: Sequence[str]) -> list[str]:
        """Lines with text, cleaned."""
        stripped = [line.strip() for line in lines]
        kept = [line.lower() if self.lowercase else line for line in stripped if line]
        return [line.replace(" ", self.space_token) for line in kept] if self.space_token else kept

    def is_too_long(self, line: str) -> bool:
        return self.longest is not None and len(line) * 4 > self.longest and len(line.encode()) > self.longest

    def is_reserved(self, line: str) -> bool:
        return any(letter in line for letter in self.reserved)

    def fits(self, line: str) -> bool:
        return not self.is_too_long(line) and not self.is_reserved(line)


@dataclass(frozen=True)
class ChunkSurvey:
    """What one chunk holds: lines that are trained on, and those left out."""

    usable: int
    too_long: int
    reserved: int


@dataclass(frozen=True)
class Surveyor:
    """The work of one process: chunk -> `ChunkSurvey`."""

    rules: LineRules

    def __call__(self, chunk: TextChunk) -> ChunkSurvey:
        lines = self.rules.clean(chunk.lines())
        too_long = sum(map(self.rules.is_too_long, lines))
        reserved = sum(self.rules.is_reserved(line) and not self.rules.is_too_long(line) for line in lines)
        return ChunkSurvey(len(lines) - too_long - reserved, too_long, reserved)


@dataclass(frozen=True)
class PickedChunk:
    """A chunk and, where lines are sampled, which of its usable lines are taken (None: all)."""

    chunk: TextChunk
    picks: npt.NDArray[np.int64] | None = None


class TrainingText:
    """Lines of text files for a trainer.

    Parameters
    ----------
    paths
        The files, in order.
    rules
        How lines are cleaned and which are left out.
    sample
        Take this many lines, drawn evenly with `seed`, where there are more.
    workers
        Processes; None takes all cores.

    `lines_in_all` and `lines_taken` are known once `survey` ran.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        rules: LineRules,
        *,
        sample: int | None = None,
        seed: int = 42,
        workers: int | None = None,
    ) -> None:
        self.paths, self.rules, self.sample, self.seed = list(paths), rules, sample, seed
        self.workers = workers or usable_cores()
        self.lines_in_all: int | None = None
        self.lines_taken: int | None = None
        self._usable_per_chunk: list[int] = []
        self._picks: npt.NDArray[np.int64] | None = None

    def survey(self) -> int:
        """Count lines, say which are left out, draw the sample; returns the number of lines taken.

        Raises:
            DataError: a file cannot be read or is not UTF-8 (with its lines), or no line can be used.
        """
        surveys = list(self.map_chunks(Surveyor(self.rules), "Reading lines"))
        self._usable_per_chunk = [survey.usable for survey in surveys]
        usable = sum(self._usable_per_chunk)
        too_long, reserved = sum(item.too_long for item in surveys), sum(item.reserved for item in surveys)
        self.lines_in_all = usable + too_long + reserved
        self._say_left_out(too_long, reserved)
        if not usable:
            raise self.nothing_left()
        self.lines_taken = self._draw(usable)
        return self.lines_taken

    def _say_left_out(self, too_long: int, reserved: int) -> None:
        if too_long:
            logger.warning(
                "%s of %s lines are longer than %s bytes and are left out; --max_sentence_length sets the limit.",
                *(f"{number:,}" for number in (too_long, self.lines_in_all, self.rules.longest)),
            )
        if reserved:
            logger.warning(
                "%s of %s lines hold the character %s, which this trainer reserves, and are left out.",
                f"{reserved:,}",
                f"{self.lines_in_all:,}",
                " or ".join(f"U+{ord(letter):04X}" for letter in self.rules.reserved),
            )

    def _draw(self, usable: int) -> int:
        if self.sample is None or usable <= self.sample:
            return usable
        chosen = np.random.default_rng(self.seed).choice(usable, self.sample, replace=False, shuffle=False)
        self._picks = np.sort(chosen)
        logger.warning(
            "Trained on %s lines drawn from %s (--input_sentence_size, seed %s).",
            f"{self.sample:,}",
            f"{usable:,}",
            self.seed,
        )
        return self.sample

    def nothing_left(self) -> DataError:
        """The problem of a corpus without a single usable line."""
        found = f"the {len(self.paths):,} files hold no line of text that can be used"
        return DataError(Problem(found, remedy="check --train_dir and --ext", path=self.paths[0].parent))

    def map_chunks(self, function: Callable[[TextChunk], Result], description: str) -> Iterator[Result]:
        """`function(chunk)` for all chunks, in order, by the worker processes.

        Raises:
            DataError: a file is not UTF-8, with the places.
        """
        return self._map(function, read_chunks(self.paths), lambda chunk: chunk, description)

    def map_picked(self, function: Callable[[PickedChunk], Result], description: str) -> Iterator[Result]:
        """The same for the sample that `survey` drew, or for everything where there is none.

        Raises:
            DataError: as `map_chunks`.
        """
        return self._map(function, self._picked_chunks(), lambda picked: picked.chunk, description)

    def _map(
        self, function: Callable, items: Iterator, chunk_of: Callable[..., TextChunk], description: str
    ) -> Iterator:
        total = sum(path.stat().st_size for path in self.paths) if _are_plain(self.paths) else None
        with Progress(description, total=total, unit="B") as progress:

            def counted() -> Iterator:
                for item in items:
                    yield item
                    progress.advance(len(chunk_of(item).data))

            try:
                yield from map_in_order(function, counted(), workers=self.workers)
            except UnicodeDecodeError:
                explain_unreadable(self.paths)
                raise

    def _picked_chunks(self) -> Iterator[PickedChunk]:
        start = 0
        for index, chunk in enumerate(read_chunks(self.paths)):
            if self._picks is None:
                yield PickedChunk(chunk)
                continue
            end = start + self._usable_per_chunk[index]
            first, last = np.searchsorted(self._picks, [start, end])
            yield PickedChunk(chunk, self._picks[first:last] - start)
            start = end

    def lines_of(self, picked: PickedChunk) -> list[str]:
        """The lines of a chunk that are trained on."""
        return take_lines(picked, self.rules)

    def lines(self) -> Iterator[str]:
        """All lines that are trained on, in order, by this process.

        Raises:
            DataError: a file cannot be read or is not UTF-8.
        """
        try:
            for picked in self._picked_chunks():
                yield from self.lines_of(picked)
        except UnicodeDecodeError:
            explain_unreadable(self.paths)
            raise


def take_lines(picked: PickedChunk, rules: LineRules) -> list[str]:
    """The usable lines of a chunk, or those of them that were drawn."""
    lines = [line for line in rules.clean(picked.chunk.lines()) if rules.fits(line)]
    return lines if picked.picks is None else [lines[index] for index in picked.picks]


def _are_plain(paths: Sequence[Path]) -> bool:
    return not any(path.suffix == ".gz" for path in paths)
