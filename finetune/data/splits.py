"""Splitting rows by chance and seed, as `datasets.Dataset.train_test_split` does."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from finetune.data.corpus import Corpus, select_rows
from finetune.errors import DataError, Problem

VALIDATION_FRACTION = 0.1

Indices = npt.NDArray[np.int64]


def split_rows(count: int, test_fraction: float, seed: int) -> tuple[Indices, Indices]:
    """The rows of a train and of a test part, both in the shuffled order, of `count` rows.

    The same rows as `Dataset.train_test_split(test_size=test_fraction, seed=seed)` of the datasets library gives: the
    test part is rounded up and is drawn first.
    """
    tests = math.ceil(test_fraction * count)
    trains = math.floor((1 - test_fraction) * count)
    order = np.random.default_rng(seed).permutation(count)
    return order[tests : tests + trains], order[:tests]


def carve_validation(
    corpus: Corpus,
    seed: int,
    *,
    text: str,
    label: str | None = None,
    fraction: float = VALIDATION_FRACTION,
    together: str | None = None,
) -> None:
    """Where a corpus has train but no validation, make one of a tenth of train, in place, and say so; never of test.

    Rows with the same text stay together, so that nothing is validated on what was trained on. No label gives up more
    than its share, rounded up, and each keeps at least one row in train. Both parts keep the order of the file.

    Args:
        corpus: its splits are changed.
        seed: draws the rows.
        text: the column that says which rows belong together: a text, or a list of words.
        label: the column of labels, one or a list of them a row; None, or numbers: there are none to keep.
        together: a column of keys, rows with the same of which belong together instead: whole documents.
        fraction: of the rows of train that validation gets, as near as whole groups of rows allow.

    Raises:
        DataError: train has fewer than two different texts.
    """
    rows = corpus.splits.get("train")
    if rows is None or "validation" in corpus.splits:
        return
    noun = "text" if together is None else together
    groups = _group_rows(rows[together or text][:])
    if len(groups) < 2:
        found = f"train has {len(rows):,} row{'s' * (len(rows) != 1)} of one {noun} and there is no validation set"
        raise DataError(Problem(found, f"at least two {noun}s are needed to make one", "pass --validation_file"))
    labels = _label_sets(rows, label)
    chosen = _choose_groups(groups, labels, max(1, round(fraction * len(rows))), seed)
    if not chosen:
        found = f"every {noun} of train holds the only example of a label, and there is no validation set"
        raise DataError(
            Problem(found, f"one is made of {noun}s whose labels train has elsewhere", "pass --validation_file")
        )
    drawn = np.zeros(len(rows), dtype=bool)
    drawn[[row for group in chosen for row in group]] = True
    for split, indices in {"train": np.flatnonzero(~drawn), "validation": np.flatnonzero(drawn)}.items():
        corpus.splits[split] = select_rows(rows, indices)
        corpus.files[split] = corpus.files.get("train", [])
    corpus.splits = {split: corpus.splits[split] for split in ("train", "validation", "test") if split in corpus.splits}
    corpus.notes.append(
        f"There is no validation set: {drawn.sum():,} of {len(rows):,} rows of train, drawn with seed {seed}, serve as "
        f"one; rows of the same {noun} stay together, and every label stays in train."
    )


def _group_rows(texts: Sequence[Any]) -> list[list[int]]:
    """Rows of the same text, groups in the order of their first row."""
    groups: dict[Any, list[int]] = {}
    for row, text in enumerate(texts):
        groups.setdefault(tuple(text) if isinstance(text, list) else text, []).append(row)
    return list(groups.values())


def _label_sets(rows: Dataset, column: str | None) -> list[set[Any]]:
    """The labels of each row; none where the column is missing or holds numbers that are no classes."""
    if column is None or column not in rows.column_names:
        return [set()] * len(rows)
    values = rows[column][:]
    if any(isinstance(value, float) for value in values):
        return [set()] * len(values)
    return [set(value) if isinstance(value, list) else {value} for value in values]


def _choose_groups(groups: list[list[int]], labels: list[set[Any]], wanted: int, seed: int) -> list[list[int]]:
    """Groups of rows in seeded order until `wanted` rows are there, first within the share of each label, then beyond it.

    A group that would take the last row of a label from train is never chosen; one that is larger than what is still
    wanted only where no smaller one can be had.
    """
    total = Counter(label for row in labels for label in row)
    share = wanted / len(labels)
    within = {label: min(math.ceil(share * count), count - 1) for label, count in total.items()}
    beyond = {label: count - 1 for label, count in total.items()}
    order = np.random.default_rng(seed).permutation(len(groups)).tolist()
    chosen, taken, missing = set[int](), Counter[Any](), wanted
    for limits in (within, beyond):
        for place in order:
            if place in chosen or not 0 < len(groups[place]) <= missing:
                continue
            counts = Counter(label for row in groups[place] for label in labels[row])
            if all(taken[label] + count <= limits[label] for label, count in counts.items()):
                chosen.add(place)
                taken.update(counts)
                missing -= len(groups[place])
    if not chosen:
        chosen = _smallest_to_spare(groups, labels, beyond)
    return [groups[place] for place in sorted(chosen)]


def _smallest_to_spare(groups: list[list[int]], labels: list[set[Any]], limits: Mapping[Any, int]) -> set[int]:
    """The smallest group that leaves a row of each label in train; none where there is no such group."""
    for place in sorted(range(len(groups)), key=lambda item: len(groups[item])):
        counts = Counter(label for row in groups[place] for label in labels[row])
        if all(count <= limits[label] for label, count in counts.items()):
            return {place}
    return set()
