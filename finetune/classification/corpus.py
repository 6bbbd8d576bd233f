"""The corpus of a classification run: a named one, a data set of the hub, or files; checked before anything is trained.

All problems of all splits are raised together. Splits come out with the canonical columns of `finetune.data.corpus`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
from datasets import Dataset

from finetune.classification.arguments import (
    ClassificationDataArguments,
    ColumnArguments,
    split_names,
)
from finetune.classification.checks import check_labels, check_texts, normalize_labels
from finetune.classification.column_choice import (
    TEXT_PAIRS,
    ColumnChoice,
    ProblemType,
    choose_columns,
    detect_problem_type,
    has_column,
)
from finetune.classification.columns import TableReading
from finetune.classification.corpora import NAMED, NamedClassification, find_named, wanted_files
from finetune.classification.label_columns import check_spellings, settle_labels
from finetune.classification.row_targets import TargetColumns, keep_targets, take_targets
from finetune.classification.tables import Tables, find_tables
from finetune.data.corpus import SPLITS, Corpus, describe_duplicates, limit_samples, select_rows
from finetune.data.row_files import RowTable, merge_tables
from finetune.data.sources import find_corpus
from finetune.data.splits import carve_validation
from finetune.errors import DataError, ProblemList

logger = logging.getLogger(__name__)


def load_classification_corpus(
    data: ClassificationDataArguments,
    columns: ColumnArguments,
    *,
    seed: int,
    validation_needed: bool = True,
    targets: TargetColumns | None = None,
    targets_elsewhere: bool = False,
) -> Corpus:
    """Read the corpus that the arguments name, split it, check it, and say what was found.

    Where there is no validation set, one is made of a tenth of train with `seed`, unless `validation_needed` is False.
    `targets_elsewhere`: silver files may have the columns of `targets` instead.

    Raises:
        DataError: every problem of every split: files that are missing or broken, columns that are not there, texts or
            labels that are none, labels that training lacks, a corpus that is nowhere to be found.
    """
    name = find_named(data.dataset_name) if data.dataset_name else None
    corpus = load_named(name, data.data_dir, seed) if name else load_tables(data, columns, targets, targets_elsewhere)
    corpus.notes += normalize_labels(corpus, wanted=columns.normalize_labels)
    prepare_splits(corpus, data, seed=seed, validation_needed=validation_needed)
    return corpus


def prepare_splits(
    corpus: Corpus, data: ClassificationDataArguments, *, seed: int, validation_needed: bool = True
) -> None:
    """Make a validation set where one is needed, check labels, count duplicates, cut to the samples asked for."""
    if validation_needed:
        carve_validation(corpus, seed, text="text", label="label")
    check_labels(corpus)
    first = next(iter(corpus.splits.values()))
    inputs = [name for name in ("text", "text_pair") if name in first.column_names]
    corpus.notes += describe_duplicates(corpus.splits, inputs=inputs, label="label", noun="texts")
    if data.shuffle_train_dataset and "train" in corpus.splits:
        order = np.random.default_rng(data.shuffle_seed).permutation(len(corpus.splits["train"]))
        corpus.splits["train"] = select_rows(corpus.splits["train"], order)
    limits = (data.max_train_samples, data.max_eval_samples, data.max_predict_samples)
    limit_samples(corpus, dict(zip(SPLITS, limits, strict=True)))
    corpus.log_notes()


def load_named(name: str, data_dir: str | None, seed: int) -> Corpus:
    """Read a named corpus from wherever it is found.

    Raises:
        DataError: it is nowhere to be found, or its files are broken.
    """
    named = NAMED[name]
    found = find_corpus(wanted_files(name), data_dir)
    problems = ProblemList()
    tables: Tables = {}
    for split, paths in found.files.items():
        parts = [problems.attempt(named.read, path, split) for path in paths]
        if all(part is not None for part in parts):
            tables[split] = merge_tables([part for part in parts if part is not None])
    problems.raise_any()
    for table in tables.values():
        _keep_fitting_names(table, named)
    corpus = read_tables(name, tables, _fitting_columns(named, tables))
    corpus.labels, corpus.files = list(named.labels), found.files
    if named.split is not None:
        corpus.splits, notes = named.split(corpus.splits, seed)
        corpus.notes += notes
        corpus.files = {split: found.files.get(split, found.files.get("train", [])) for split in corpus.splits}
    return corpus


def _keep_fitting_names(table: RowTable, named: NamedClassification) -> None:
    """The hub declares names of class ids; where they are others than ours, the ids themselves are ours."""
    table.label_names = {
        column: names for column, names in table.label_names.items() if set(names) <= set(named.labels)
    }


def _fitting_columns(named: NamedClassification, tables: Tables) -> ColumnChoice:
    table = next(iter(tables.values()))
    for choice in named.columns:
        if all(has_column(table, name) for name in choice.text):
            return choice
    return named.columns[0]


def load_tables(
    data: ClassificationDataArguments,
    columns: ColumnArguments,
    asked: TargetColumns | None = None,
    asked_elsewhere: bool = False,
) -> Corpus:
    """Read files, a folder or a data set of the hub with the columns that were chosen.

    Raises:
        DataError: as `load_classification_corpus`.
    """
    name, tables, files = find_tables(data, columns)
    removed = split_names(columns.remove_columns)
    for table in tables.values():
        table.columns = {column: values for column, values in table.columns.items() if column not in removed}
    label = split_names(columns.label_column)
    named = label[0] if label else "label"
    problems = ProblemList()
    targets = take_targets(tables, asked or TargetColumns(), named, problems, required=not asked_elsewhere)
    read = problems.attempt(read_tables, name, tables, asked_columns(columns))
    problems.raise_any()
    assert read is not None
    corpus = read
    corpus.files = files
    declared = next((names for table in tables.values() for names in _declared(table, label)), None)
    corpus.labels = corpus.labels or declared
    keep_targets(corpus, targets)
    return corpus


def _declared(table: RowTable, label: tuple[str, ...]) -> list[list[str]]:
    return [table.label_names[name] for name in label or ("label", "labels") if name in table.label_names]


def asked_columns(columns: ColumnArguments) -> ColumnChoice:
    """The columns that were asked for."""
    return ColumnChoice(
        text=split_names(columns.text_column),
        text_pair=columns.text_pair_column,
        label=split_names(columns.label_column),
        join=columns.text_column_delimiter,
        label_delimiter=columns.label_delimiter,
        regression=columns.do_regression,
    )


def read_tables(name: str, tables: Mapping[str, RowTable], choice: ColumnChoice) -> Corpus:
    """Canonical columns of all splits; columns and kind of labels are chosen on the first split and hold for all."""
    tables = {split: tables[split] for split in SPLITS if split in tables}
    first_split, first = next(iter(tables.items()))
    chosen, remarks = choose_columns(first, choice, needs_label=first_split != "test")
    for remark in remarks:
        logger.info("%s", remark)
    for table in tables.values():
        _take_names(table, chosen)
    problems = ProblemList()
    problems.extend(check_spellings(tables, chosen))
    problems.extend(check_texts(first, chosen))
    problems.raise_any(DataError)
    corpus = Corpus(name, {}, list(chosen.label) if len(chosen.label) > 1 else None)
    corpus.notes += settle_labels(tables, chosen) + _describe_pair(choice, chosen)
    labelled = all(has_column(first, column) for column in chosen.label) and bool(chosen.label)
    kind = detect_problem_type(first, chosen) if labelled else ProblemType.SINGLE
    for split, table in tables.items():
        rows = problems.attempt(_read_table, table, chosen, split, kind, corpus)
        if rows is not None:
            corpus.splits[split] = rows
    problems.raise_any()
    return corpus


def _take_names(table: RowTable, chosen: ColumnChoice) -> None:
    """Columns of one split that differ in capitals and white space from those of the first are called as there."""
    wanted = {name.strip().casefold(): name for name in (*chosen.text, chosen.text_pair, *chosen.label) if name}
    for name in list(table.columns):
        new = wanted.get(name.strip().casefold())
        if new is not None and new not in table.columns:
            table.columns = {new if own == name else own: values for own, values in table.columns.items()}


def _describe_pair(choice: ColumnChoice, chosen: ColumnChoice) -> list[str]:
    """Two columns are taken as a pair because they are the only ones of text: that may be a text and its author."""
    if choice.text or not chosen.text_pair or (chosen.text[0].lower(), chosen.text_pair.lower()) in TEXT_PAIRS:
        return []
    first, second = chosen.text[0], chosen.text_pair
    what = f"The columns {first} and {second} are the only ones that hold text: each row is taken as a pair of texts"
    return [f"{what}. To read one of them alone, add --text_column {first}."]


def _read_table(table: RowTable, choice: ColumnChoice, split: str, kind: ProblemType, corpus: Corpus) -> Dataset:
    choose_columns(table, choice, needs_label=split != "test")
    reading = TableReading(table, choice, split, classes=_classes(corpus) if split != "train" else frozenset())
    rows = reading.read(kind, needs_label=split != "test")
    corpus.notes += reading.notes
    if "label" not in rows.column_names:
        corpus.notes.append(f"{split} has no labels: its texts are predicted, not scored.")
    return rows


def _classes(corpus: Corpus) -> frozenset[str]:
    """The classes of train, where its texts have one each."""
    train = corpus.splits.get("train")
    if train is None or getattr(train.features.get("label"), "dtype", None) != "string":
        return frozenset()
    return frozenset(train.unique("label"))
