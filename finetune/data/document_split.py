"""Documents of a corpus -> a training file and a validation file, whole documents in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.data.text import iterate_documents
from finetune.errors import DataError, Problem
from finetune.run.atomic_files import atomic_text_file


@dataclass(frozen=True)
class SplitCounts:
    """Documents and lines of both files."""

    train_documents: int
    train_lines: int
    validation_documents: int
    validation_lines: int


def split_documents(
    paths: Sequence[Path], train: Path, validation: Path, *, ratio: int, shuffle_seed: int | None = None
) -> SplitCounts:
    """Write one document in `ratio` (rounded up) to `validation` and the others to `train`.

    Lines are stripped; an empty line follows every document. The first documents are for validation, or with a
    `shuffle_seed` random ones; both files keep the order of the corpus. Files appear when they are whole.

    Raises:
        DataError: there are fewer than two documents.
    """
    total = sum(1 for _ in iterate_documents(paths))
    if total < 2:
        found = f"the corpus has {total} document{'s' if total != 1 else ''}"
        remedy = "put an empty line wherever a document ends"
        raise DataError(Problem(found, "at least two are needed: one to train on, one to validate", remedy, paths[0]))
    chosen = choose_documents(total, -(-total // ratio), shuffle_seed)
    documents, lines = {train: 0, validation: 0}, {train: 0, validation: 0}
    with atomic_text_file(train) as train_file, atomic_text_file(validation) as validation_file:
        streams = {train: train_file, validation: validation_file}
        for number, document in enumerate(iterate_documents(paths)):
            target = validation if number in chosen else train
            streams[target].write("\n".join(document) + "\n\n")
            documents[target] += 1
            lines[target] += len(document)
    return SplitCounts(documents[train], lines[train], documents[validation], lines[validation])


def choose_documents(total: int, count: int, shuffle_seed: int | None) -> range | set[int]:
    """Numbers of `count` documents: the first ones, or random ones. One document at least stays for the other file."""
    count = min(count, total - 1)
    if shuffle_seed is None:
        return range(count)
    return set(np.random.default_rng(shuffle_seed).choice(total, size=count, replace=False).tolist())
