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
    RowTargetArguments,
    split_names,
)
from finetune.classification.corpus import asked_columns, read_tables
from finetune.classification.published.cleaning import clean_corpus
from finetune.classification.row_targets import SOFT, keep_targets, take_targets
from finetune.data.corpus import Corpus
from finetune.data.files import find_paths
from finetune.data.row_files import RowTable, merge_tables, read_row_file
from finetune.errors import DataError, Problem, ProblemList
from finetune.supervised.silver import FLAG, WEIGHT, add_silver

COLUMN_OF = {"weight_column": WEIGHT, "soft_label_column": SOFT}


def add_silver_texts(corpus: Corpus, arguments: Arguments, clean: Callable[[str], str]) -> None:
    """Append the texts of `--silver_file` to train, in place.

    Raises:
        DataError: files that are missing or broken; columns, labels or probabilities that are not those of train; weights
            where each text has several labels or a number.
    """
    asked = arguments[ClassificationArguments]
    paths = [path for pattern in asked.silver_file or () for path in find_paths(pattern, flag=FLAG)]
    columns = arguments.find(ColumnArguments) or ColumnArguments()
    table = _read_files(paths, columns)
    label = split_names(columns.label_column)
    targets = take_targets({"train": table}, _targets_of(table, corpus, arguments), label[0] if label else "label")
    silver = read_tables("silver", {"train": table}, asked_columns(columns))
    silver.labels = corpus.labels
    keep_targets(silver, targets)
    clean_corpus(silver, clean)
    corpus.notes += [note.replace("train", "silver", 1) for note in silver.notes]
    rows = silver.splits["train"]
    _require_weighable(corpus, asked.silver_weight)
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


def _targets_of(table: RowTable, corpus: Corpus, arguments: Arguments) -> RowTargetArguments:
    """The columns of weights and probabilities that the silver rows have; gold or silver must have what was asked for."""
    asked = arguments.find(RowTargetArguments) or RowTargetArguments()
    there = {flag: name for flag in COLUMN_OF if (name := getattr(asked, flag)) in table.columns}
    lost = [
        Problem(f"--{flag} {name}: neither train nor {FLAG} has such a column", allowed_values(name, table.columns))
        for flag, column in COLUMN_OF.items()
        if (name := getattr(asked, flag)) and flag not in there and column not in _columns(corpus)
    ]
    if lost:
        raise DataError(*lost)
    return replace(asked, **{flag: there.get(flag) for flag in COLUMN_OF})


def _require_weighable(corpus: Corpus, weight: float) -> None:
    train = corpus.splits.get("train")
    if train is None or weight == 1 or getattr(train.features.get("label"), "dtype", None) == "string":
        return
    found = f"--silver_weight {weight:g} is for texts of one label each"
    raise DataError(Problem(found, "texts of several labels, and numbers, weigh 1", "drop --silver_weight"))
