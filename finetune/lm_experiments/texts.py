"""Texts with labels and metadata, line by line: `X.txt(.gz)` or `X.json(.gz)`, and `X_metadata.json(.gz)` beside it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.data.files import missing_file
from finetune.errors import DataError, Problem
from finetune.lm_experiments.windows import Window
from finetune.surprisal.input import InputFile, read_scoring_file, resolve_input_file

logger = logging.getLogger(__name__)

SUFFIX = re.compile(r"\.(txt|json|jsonl)(\.gz)?$")
Record = dict[str, Any]


@dataclass
class AnnotatedTexts:
    """Aligned rows: `texts[i]`, `labels[i]` (None where the file has no labels) and `metadata[i]` are one example.

    `lines[i]` is its line in the file; `files` are those that were read; `notes` say what was dropped. Where texts are read
    in windows, `windows[i]` is the part of its text that row i reads.
    """

    name: str
    texts: list[str]
    metadata: list[Record]
    labels: list[str] | None = None
    lines: list[int] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    windows: list[Window] | None = None

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
        windows = None if self.windows is None else [self.windows[row] for row in rows]
        return AnnotatedTexts(self.name, texts, metadata, labels, lines, self.files, self.notes, windows)

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
        path: `.txt` (one example a line) or `.json` (one object a line: `text`, perhaps `labels`, and what else counts as
            metadata), plain or gzipped.
        max_samples: keep the first so many examples.

    Raises:
        DataError: the file is missing or of another kind, lines are broken, only some have labels, all are empty, or the
            metadata has another number of lines.
    """
    if not SUFFIX.search(path.name):
        raise DataError(Problem("this is no file of texts", ".txt, .txt.gz, .json and .json.gz are read", path=path))
    if not path.exists():
        raise DataError(missing_file(path))
    file = resolve_input_file(path)
    if 0 < file.labelled < file.examples:
        found = f"{file.labelled:,} of {file.examples:,} lines have labels"
        raise DataError(Problem(found, "all or none must", path=path))
    if file.metadata is None:
        logger.warning("%s has no metadata: %s_metadata.json.gz is not there.", path, file.name)
    return _first_with_text(_assemble(file), max_samples)


def _assemble(file: InputFile) -> AnnotatedTexts:
    examples = list(read_scoring_file(file))
    labels = [example.labels or "" for example in examples] if file.labelled else None
    return AnnotatedTexts(
        file.name,
        [example.text for example in examples],
        [dict(example.facts) for example in examples],
        labels,
        [example.item + 1 for example in examples],
        [file.path, *([file.metadata] if file.metadata else [])],
    )


def _first_with_text(texts: AnnotatedTexts, max_samples: int | None) -> AnnotatedTexts:
    kept = [row for row, text in enumerate(texts.texts) if text.strip()]
    empty = len(texts) - len(kept)
    if not kept:
        raise DataError(Problem(f"none of its {len(texts):,} lines holds text", path=texts.files[0]))
    if empty:
        note = f"{texts.files[0]}: {empty:,} of {len(texts):,} lines hold no text; they are left out."
        texts.notes.append(note)
        logger.warning("%s", note)
    return texts.take(kept[:max_samples])
