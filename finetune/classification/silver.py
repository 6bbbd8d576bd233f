"""Silver texts of a classifier: read with the columns of the gold ones, cleaned like them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from finetune.arguments.nearest import allowed_values
from finetune.arguments.parser import Arguments
from finetune.classification.arguments import (
    ClassificationArguments,
    ColumnArguments,
    split_names,
)
from finetune.classification.corpus import asked_columns, read_tables
from finetune.classification.published.cleaning import clean_corpus
from finetune.classification.row_targets import SOFT, TargetColumns, ask_targets, keep_targets, take_targets
from finetune.data.corpus import Corpus
from finetune.data.files import find_paths
from finetune.data.row_files import RowTable, merge_tables, read_row_file
from finetune.errors import DataError, Problem, ProblemList
from finetune.supervised.row_weights import WEIGHT
from finetune.supervised.silver import FLAG, add_silver


def add_silver_texts(corpus: Corpus, arguments: Arguments, clean: Callable[[str], str]) -> None:
    """Append the texts of `--silver_file` to train, in place.

    Raises:
        DataError: files that are missing or broken; columns, labels or probabilities that are not those of train.
    """
    asked = arguments[ClassificationArguments]
    paths = [path for pattern in asked.silver_file or () for path in find_paths(pattern, flag=FLAG)]
    columns = arguments.find(ColumnArguments) or ColumnArguments()
    table = _read_files(paths, columns)
    label = split_names(columns.label_column)
    problems = ProblemList()
    there = problems.attempt(_targets_of, table, corpus, arguments) or TargetColumns()
    targets = take_targets({"train": table}, there, label[0] if label else "label", problems)
    read = problems.attempt(read_tables, "silver", {"train": table}, asked_columns(columns))
    problems.raise_any()
    assert read is not None
    silver = read
    silver.labels = corpus.labels
    keep_targets(silver, targets)
    clean_corpus(silver, clean)
    corpus.notes += [note.replace("train", "silver", 1) for note in silver.notes]
    rows = silver.splits["train"]
    inputs = [name for name in ("text", "text_pair") if name in {*rows.column_names, *_columns(corpus)}]
    add_silver(corpus, rows, paths, asked, inputs=inputs, label="label", fill={SOFT: ""})


def _columns(corpus: Corpus) -> list[str]:
    return corpus.splits["train"].column_names if "train" in corpus.splits else []


def _read_files(paths: list[Path], columns: ColumnArguments) -> RowTable:
    problems = ProblemList()
    names, delimiter = split_names(columns.column_names), columns.csv_delimiter
    parts = [
        problems.attempt(read_row_file, path, column_names=names, delimiter=delimiter, key=columns.field)
        for path in paths
    ]
    problems.raise_any()
    return merge_tables([part for part in parts if part is not None])


def _targets_of(table: RowTable, corpus: Corpus, arguments: Arguments) -> TargetColumns:
    """The columns of weights and probabilities that the silver rows have; gold or silver must have what was asked for."""
    asked = ask_targets(arguments)
    columns = {"weight_column": (asked.weight, WEIGHT), "soft_label_column": (asked.soft, SOFT)}
    lost = [
        Problem(f"--{flag} {name}: neither train nor {FLAG} has such a column", allowed_values(name, table.columns))
        for flag, (name, kept) in columns.items()
        if name and name not in table.columns and kept not in _columns(corpus)
    ]
    if lost:
        raise DataError(*lost)
    weight, soft = (name if name in table.columns else None for name, _ in columns.values())
    return replace(asked, weight=weight, soft=soft)
