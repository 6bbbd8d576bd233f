"""Texts with labels and metadata, line by line: `X.txt(.gz)` or `X.json(.gz)`, and `X_metadata.json(.gz)` beside it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.data.files import capped, listed, missing_file, read_lines
from finetune.errors import DataError, Problem, ProblemList

logger = logging.getLogger(__name__)

SUFFIX = re.compile(r"\.(txt|json|jsonl)(\.gz)?$")
Record = dict[str, Any]


@dataclass
class AnnotatedTexts:
    """Aligned rows: `texts[i]`, `labels[i]` (None where the file has no labels) and `metadata[i]` are one example.

    `lines[i]` is its line in the file; `files` are those that were read; `notes` say what was dropped.
    """

    name: str
    texts: list[str]
    metadata: list[Record]
    labels: list[str] | None = None
    lines: list[int] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, row: int) -> Record:
        """One example as one dictionary: text, labels, metadata."""
        labels = None if self.labels is None else self.labels[row]
        return {"text": self.texts[row], "labels": labels, "metadata": self.metadata[row]}

    def __iter__(self) -> Iterator[Record]:
        return (self[row] for row in range(len(self)))

    def take(self, rows: Sequence[int]) -> AnnotatedTexts:
        """The examples of those rows, in that order, as often as they are named."""
        labels = None if self.labels is None else [self.labels[row] for row in rows]
        texts, metadata = [self.texts[row] for row in rows], [self.metadata[row] for row in rows]
        lines = [self.lines[row] for row in rows]
        return AnnotatedTexts(self.name, texts, metadata, labels, lines, self.files, self.notes)

    def expand(self, lengths: Sequence[int]) -> AnnotatedTexts:
        """Each example as often as preprocessing made rows of it, so that row i of the encoded inputs is row i here.

        Args:
            lengths: rows per example, in order; entries of -1 are padding.

        Raises:
            ValueError: there are not as many lengths as examples.
        """
        kept = [int(length) for length in lengths if length >= 0]
        if len(kept) != len(self):
            raise ValueError(f"{len(kept)} expanded lengths for {len(self)} examples")
        return self.take([row for row, length in enumerate(kept) for _ in range(length)])


def read_annotated_texts(path: Path, *, max_samples: int | None = None) -> AnnotatedTexts:
    """Read a file of texts and the metadata beside it. Lines without text are dropped with their metadata, and counted.

    Args:
        path: `.txt` (one example a line) or `.json` (one object a line, `text` and perhaps `labels`), plain or gzipped.
        max_samples: keep the first so many examples.

    Raises:
        DataError: the file is missing or of another kind, lines are broken, or the metadata has another number of lines.
    """
    if not SUFFIX.search(path.name):
        raise DataError(Problem("this is no file of texts", ".txt, .txt.gz, .json and .json.gz are read", path=path))
    if not path.exists():
        raise DataError(missing_file(path))
    problems = ProblemList()
    rows = problems.attempt(_read_rows, path)
    beside = find_metadata(path)
    metadata = problems.attempt(_read_objects, beside) if beside else None
    if rows is not None and metadata is not None and len(metadata) != len(rows):
        found = f"{len(metadata):,} lines of metadata for {len(rows):,} lines of {path.name}"
        problems.append(Problem(found, "each example has one line", path=beside))
    problems.raise_any()
    assert rows is not None
    whole = _assemble(path, rows, metadata or [{} for _ in rows], [path, *([beside] if beside else [])])
    if beside is None:
        logger.warning("%s has no metadata: %s_metadata.json.gz is not there.", path, SUFFIX.sub("", path.name))
    return _first_with_text(whole, max_samples)


def find_metadata(path: Path) -> Path | None:
    """`X_metadata.json.gz` or `X_metadata.json` beside `X.txt.gz`, or None."""
    stem = SUFFIX.sub("", path.name)
    names = [f"{stem}_metadata.json{suffix}" for suffix in (".gz", "")]
    return next((path.with_name(name) for name in names if path.with_name(name).exists()), None)


def _read_rows(path: Path) -> list[Record]:
    if ".txt" in path.suffixes[-2:]:
        return [{"text": line} for line in read_lines(path).lines]
    rows = _read_objects(path)
    problems = [
        _not_text(row, name, number, path)
        for number, row in enumerate(rows, start=1)
        for name in ("text", "labels")
        if not isinstance(row.get(name, "" if name == "labels" else None), str)
    ]
    labelled = sum("labels" in row for row in rows)
    if 0 < labelled < len(rows):
        problems.append(Problem(f"{labelled:,} of {len(rows):,} lines have labels", "all or none must", path=path))
    if problems:
        raise DataError(*capped(problems, path))
    return rows


def _not_text(row: Record, name: str, number: int, path: Path) -> Problem:
    found = f"{name} is no text" if name in row else f"there is no {name!r}; the keys are {listed(list(row))}"
    return Problem(found, 'a line reads {"text": "...", "labels": "..."}', path=path, line=number)


def _read_objects(path: Path) -> list[Record]:
    problems, rows = [], []
    for number, line in enumerate(read_lines(path).lines, start=1):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            problems.append(Problem(f"not valid JSON: {error.msg}", "one object a line", path=path, line=number))
            continue
        if isinstance(value, dict):
            rows.append(value)
        else:
            problems.append(Problem("this is no JSON object", "one object a line", path=path, line=number))
    if problems:
        raise DataError(*capped(problems, path))
    return rows


def _assemble(path: Path, rows: list[Record], metadata: list[Record], files: list[Path]) -> AnnotatedTexts:
    labels = [row["labels"] for row in rows] if rows and "labels" in rows[0] else None
    lines = list(range(1, len(rows) + 1))
    return AnnotatedTexts(SUFFIX.sub("", path.name), [row["text"] for row in rows], metadata, labels, lines, files)


def _first_with_text(texts: AnnotatedTexts, max_samples: int | None) -> AnnotatedTexts:
    kept = [row for row, text in enumerate(texts.texts) if text.strip()]
    empty = len(texts) - len(kept)
    if empty:
        note = f"{texts.files[0]}: {empty:,} of {len(texts):,} lines hold no text; they are left out."
        texts.notes.append(note)
        logger.warning("%s", note)
    return texts.take(kept[:max_samples])
