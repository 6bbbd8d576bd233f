"""Splitting rows by chance and seed, as `datasets.Dataset.train_test_split` does."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

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


def carve_validation(corpus: Corpus, seed: int, fraction: float = VALIDATION_FRACTION) -> None:
    """Where a corpus has train but no validation, make one of a tenth of train, in place, and say so; never of test.

    Both parts keep the order of the file.

    Raises:
        DataError: train has fewer than two rows.
    """
    rows = corpus.splits.get("train")
    if rows is None or "validation" in corpus.splits:
        return
    if len(rows) < 2:
        found = f"train has {len(rows)} row and there is no validation set"
        raise DataError(Problem(found, "at least two rows are needed to make one", "pass --validation_file"))
    count = max(1, round(fraction * len(rows)))
    order = np.random.default_rng(seed).permutation(len(rows))
    parts = {"train": np.sort(order[count:]), "validation": np.sort(order[:count])}
    for split, indices in parts.items():
        corpus.splits[split] = select_rows(rows, indices)
        corpus.files[split] = corpus.files.get("train", [])
    corpus.splits = {split: corpus.splits[split] for split in ("train", "validation", "test") if split in corpus.splits}
    corpus.notes.append(
        f"There is no validation set: {count:,} of {len(rows):,} rows of train, drawn with seed {seed}, serve as one."
    )
