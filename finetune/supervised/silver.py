"""Rows that a model or a rule labelled, beside the gold ones of train: appended with a weight, told apart by counts.

Validation and test are gold, also where a validation set is made of train: silver rows come after it is made.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path

import pyarrow as pa
from datasets import Dataset
from datasets.table import InMemoryTable

from finetune.arguments.nearest import allowed_values
from finetune.data.corpus import Corpus
from finetune.data.files import MAX_LISTED
from finetune.errors import DataError, Problem
from finetune.supervised.arguments import SupervisedArguments
from finetune.supervised.row_weights import WEIGHT

FLAG = "--silver_file"


def add_silver(
    corpus: Corpus,
    silver: Dataset,
    files: Sequence[Path],
    asked: SupervisedArguments,
    *,
    inputs: Sequence[str],
    label: str,
    fill: dict[str, object] | None = None,
) -> None:
    """Append the silver rows to train, in place; what a row weighs is kept in the column `weight` where rows differ.

    Args:
        corpus: its labels stay those of the gold rows.
        silver: rows with the canonical columns of the task; `weight` where they have weights of their own.
        files: what they were read from.
        asked: `silver_weight`.
        inputs: the columns that make two rows the same.
        label: the column of the labels.
        fill: what a row has in columns that only the others have.

    Raises:
        DataError: there is no training set, its columns are others, or a silver label is no label of the gold rows.
    """
    train = corpus.splits.get("train")
    if train is None:
        raise DataError(Problem(f"{FLAG} is added to a training set, and there is none", remedy="add --train_file"))
    needed = [*inputs, label]
    odd = [name for name in needed if (name in train.column_names) != (name in silver.column_names)]
    if odd:
        has, lacks = ("train", FLAG) if odd[0] in train.column_names else (FLAG, "train")
        raise DataError(Problem(f"{has} has {odd[0]}, and {lacks} has none", "both are read alike", path=files[0]))
    problems = _unknown_labels(corpus, train, silver, label, files)
    if problems:
        raise DataError(*problems[:MAX_LISTED])
    corpus.notes += _describe(corpus, silver, asked, inputs)
    corpus.splits["train"] = _joined(train, silver, asked.silver_weight, len(corpus.files.get("train", [])), fill or {})
    if "file" in train.column_names or not corpus.files.get("train"):
        corpus.files["train"] = [*corpus.files.get("train", []), *files]
    else:
        corpus.files["silver"] = list(files)


def _unknown_labels(
    corpus: Corpus, train: Dataset, silver: Dataset, label: str, files: Sequence[Path]
) -> list[Problem]:
    """A problem for each silver label that the gold rows lack."""
    known = {*(corpus.labels or ()), *_labels_of(train, label)}
    allowed = [name for name in known if isinstance(name, str)]
    return [
        Problem(f"the silver label {name!r} is no label of train", allowed_values(name, sorted(allowed)), path=files[0])
        for name in sorted(_labels_of(silver, label) - known)
    ]


def _labels_of(rows: Dataset, label: str) -> set[str]:
    values = rows[label][:]
    flat = {name for value in values for name in (value if isinstance(value, list) else [value])}
    return {name for name in flat if isinstance(name, str)}  # numbers of a regression are no names


def _describe(corpus: Corpus, silver: Dataset, asked: SupervisedArguments, inputs: Sequence[str]) -> list[str]:
    keys = _keys(silver, inputs)
    weight = f"each weighs {asked.silver_weight:g}" if asked.silver_weight != 1 else "each weighs as much as a gold one"
    notes = [f"train: {len(corpus.splits['train']):,} gold rows and {len(silver):,} silver ones; {weight}."]
    for split, rows in corpus.splits.items():
        gold = set(_keys(rows, inputs))
        shared = sum(key in gold for key in keys)
        if shared:
            is_train = split == "train"
            meaning = "both are learnt" if is_train else f"scores of {split} are too good by what is learnt of it"
            notes.append(f"{shared:,} of {len(keys):,} silver rows have a text of {split}: {meaning}.")
    return notes


def _keys(rows: Dataset, inputs: Sequence[str]) -> list[Hashable]:
    columns = [[tuple(value) if isinstance(value, list) else value for value in rows[name][:]] for name in inputs]
    return list(zip(*columns, strict=True))


def _joined(gold: Dataset, silver: Dataset, weight: float, files: int, fill: dict[str, object]) -> Dataset:
    """The rows of both; columns of places count on, columns that one lacks are filled."""
    parts = [{name: rows.with_format("arrow")[:][name] for name in rows.column_names} for rows in (gold, silver)]
    if weight != 1 or any(WEIGHT in part for part in parts):
        for part, rows, factor in zip(parts, (gold, silver), (1.0, weight), strict=True):
            own = rows[WEIGHT][:] if WEIGHT in part else [1.0] * len(rows)
            part[WEIGHT] = pa.chunked_array([pa.array([value * factor for value in own], pa.float32())])
    for name, value in fill.items():
        if any(name in part for part in parts):
            for part, rows in zip(parts, (gold, silver), strict=True):
                part.setdefault(name, pa.chunked_array([pa.array([value] * len(rows))]))
    for name in ("file", "document"):
        if name in parts[0] and name in parts[1]:
            first = files if name == "file" else max(parts[0][name].to_pylist(), default=-1) + 1
            parts[1][name] = pa.chunked_array([pa.array([value + first for value in parts[1][name].to_pylist()])])
    shared = [name for name in parts[0] if name in parts[1]]
    columns = {
        name: pa.chunked_array([*parts[0][name].chunks, *parts[1][name].cast(parts[0][name].type).chunks])
        for name in shared
    }
    return Dataset(InMemoryTable(pa.table(columns)))
