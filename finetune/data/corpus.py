"""A corpus as it leaves this room: splits with canonical columns, and what all tasks do with them.

Columns of a tagging corpus: `words` and `tags` (lists of the same length; no `tags` where a split is unlabelled),
`line` (1-based first line in its file, 0 where unknown), `file` (index into `Corpus.files[split]`); of annotated raw
text also `text`, `starts`, `ends` (character offsets of the words). Columns of a classification corpus: `text`,
perhaps `text_pair`, `label`, `line`.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset

from finetune.data.files import fingerprint

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")


@dataclass
class Corpus:
    """Splits of one task, in the order train, validation, test; any of them may be absent.

    `labels` is the declared order of the labels (None: they are collected from train and sorted). `files` are those
    that each split was read from. `notes` are sentences with counts: what was dropped, repaired, found twice.
    """

    name: str
    splits: dict[str, Dataset]
    labels: list[str] | None = None
    files: dict[str, list[Path]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def fingerprints(self) -> dict[str, list[dict[str, str | int]]]:
        """Path, size and sha256 of the files of each split, for the manifest of a run."""
        known: dict[Path, dict[str, str | int]] = {}
        for path in (path for paths in self.files.values() for path in paths):
            if path not in known and path.is_file():
                known[path] = fingerprint(path)
        return {split: [known[path] for path in paths if path in known] for split, paths in self.files.items()}

    def log_notes(self) -> None:
        """Say the sizes of the splits and every note, once."""
        sizes = ", ".join(f"{split} {len(rows):,}" for split, rows in self.splits.items())
        logger.info("Corpus %s: %s.", self.name, sizes)
        for note in self.notes:
            logger.warning("%s", note)


def build_dataset(columns: Mapping[str, Sequence[object]]) -> Dataset:
    """A data set in memory from columns of equal length; nothing is written to the cache folder."""
    return Dataset(pa.table(dict(columns)))


def select_rows(rows: Dataset, indices: Iterable[int]) -> Dataset:
    """The rows of `indices`, in that order, laid out anew (no index mapping to slow down later reading)."""
    indices = np.fromiter(indices, dtype=np.int64)
    return Dataset(rows.select(indices).with_format("arrow")[:], info=rows.info)


def limit_samples(corpus: Corpus, limits: Mapping[str, int | None]) -> None:
    """Keep the first `limits[split]` rows of each split, in place; noted where that drops any."""
    for split, limit in limits.items():
        rows = corpus.splits.get(split)
        if rows is None or limit is None or limit >= len(rows):
            continue
        corpus.notes.append(f"Only the first {limit:,} of {len(rows):,} rows of {split} are used, as asked.")
        corpus.splits[split] = select_rows(rows, range(limit))


def describe_duplicates(
    splits: Mapping[str, Dataset], *, inputs: Sequence[str], label: str | None, noun: str = "sentences"
) -> list[str]:
    """Sentences that count repeated rows: within a split, across splits, and with labels that differ.

    `inputs` are the columns that make two rows the same text, `label` the column that should then agree. Nothing is
    dropped: published test sets hold such rows, and scores stay comparable only with them.
    """
    keys = {split: _row_keys(rows, inputs) for split, rows in splits.items()}
    notes = [note for split, split_keys in keys.items() for note in _within(split, split_keys, noun)]
    names = list(keys)
    for index, later in enumerate(names):
        for earlier in names[:index]:
            notes += _across(earlier, later, keys, noun)
    if label is not None:
        notes += _conflicts(splits, keys, label, noun)
    return notes


def _row_keys(rows: Dataset, columns: Sequence[str]) -> list[Hashable]:
    return list(zip(*([_hashable(value) for value in rows[name][:]] for name in columns), strict=True))


def _hashable(value: object) -> Hashable:
    return tuple(value) if isinstance(value, list) else value  # type: ignore[return-value]


def _within(split: str, keys: list[Hashable], noun: str) -> list[str]:
    repeated = len(keys) - len(set(keys))
    return [f"{repeated:,} of {len(keys):,} {noun} of {split} repeat an earlier one."] if repeated else []


def _across(earlier: str, later: str, keys: Mapping[str, list[Hashable]], noun: str) -> list[str]:
    known = set(keys[earlier])
    shared = sum(key in known for key in keys[later])
    return [f"{shared:,} of {len(keys[later]):,} {noun} of {later} are also in {earlier}."] if shared else []


def _conflicts(splits: Mapping[str, Dataset], keys: Mapping[str, list[Hashable]], label: str, noun: str) -> list[str]:
    """Count texts that occur with more than one label, over all labelled splits, with one of them as an example."""
    first: dict[Hashable, tuple[Hashable, str, int]] = {}
    differing: dict[Hashable, str] = {}
    for split, rows in splits.items():
        if label not in rows.column_names:
            continue
        places = rows["line"][:] if "line" in rows.column_names else [0] * len(rows)
        for key, value, line in zip(keys[split], rows[label][:], places, strict=True):
            known, known_split, known_line = first.setdefault(key, (_hashable(value), split, line))
            if known != _hashable(value):
                differing.setdefault(key, f"{_place(known_split, known_line)} and {_place(split, line)}")
    if not differing:
        return []
    example = next(iter(differing.values()))
    return [f"{len(differing):,} distinct {noun} occur with labels that differ (for example {example})."]


def _place(split: str, line: int) -> str:
    return f"{split} line {line:,}" if line else split
