"""Labels of a classification corpus: what kind they are, which there are, which do not belong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from itertools import chain
from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from finetune.classification.column_choice import ColumnChoice, ProblemType, column_values, has_column
from finetune.classification.columns import sort_labels
from finetune.classification.label_values import find_joint, find_worded_numbers, is_missing_number, is_number
from finetune.data.corpus import Corpus
from finetune.data.files import MAX_LISTED, listed, raise_problems
from finetune.data.label_spellings import describe_alike, unify_labels
from finetune.data.row_files import RowTable
from finetune.data.tagged_lines import are_span_tags
from finetune.encoding.unknown_labels import unknown_label
from finetune.errors import DataError, Problem

ROWS_LOOKED_AT = 1000
NO_NAMES = ("?", "??", "-", "--", "_", ".", "/")  # what people write where there is no label
FEWEST_ROWS = 10  # of fewer it is no wonder that each has its own label


def find_problem_type(corpus: Corpus) -> ProblemType:
    """What the labels of a corpus are, told by the type of the first labelled split; single labels where none is."""
    for rows in corpus.splits.values():
        if "label" in rows.column_names:
            kind = rows.data.table.schema.field("label").type
            if pa.types.is_list(kind) or pa.types.is_large_list(kind):
                return ProblemType.MULTI
            return ProblemType.REGRESSION if pa.types.is_floating(kind) else ProblemType.SINGLE
    return ProblemType.SINGLE


def check_labels(corpus: Corpus) -> None:
    """Complete the label list from train, and find labels outside of it.

    Raises:
        DataError: every such label with the row where it comes first, how often it occurs, and the nearest that is
            known; or train has a single label.
    """
    kind = find_problem_type(corpus)
    train = corpus.splits.get("train")
    if kind is ProblemType.REGRESSION:
        return
    if corpus.labels is None and train is not None:
        corpus.labels = sort_labels(_labels_of(train, kind))
        raise_problems(_check_class_per_row(train, corpus.labels) if kind is ProblemType.SINGLE else [], Path("train"))
        if len(corpus.labels) < 2 and kind is ProblemType.SINGLE:
            found = f"train has one label only, {listed(corpus.labels)}"
            raise DataError(Problem(found, "two or more are needed", "check --label_column"))
    if corpus.labels is not None:
        problems = [problem for split in corpus.splits for problem in find_unknown_labels(corpus, split, corpus.labels)]
        if problems:
            raise DataError(*problems)


def normalize_labels(corpus: Corpus, *, wanted: bool) -> list[str]:
    """Labels that look alike: made one in place where that is wanted; either way the sentences say which they are."""
    kind = find_problem_type(corpus)
    labelled = {split: rows for split, rows in corpus.splits.items() if "label" in rows.column_names}
    if kind is ProblemType.REGRESSION or not labelled:
        return []
    values = {split: rows["label"][:] for split, rows in labelled.items()}
    multi = kind is ProblemType.MULTI
    counts = Counter(chain.from_iterable(chain.from_iterable(v) if multi else v for v in values.values()))
    spellings = unify_labels(counts)
    if wanted and spellings:
        for split, rows in labelled.items():
            respelt = [
                list(dict.fromkeys(spellings.get(item, item) for item in value))
                if isinstance(value, list)
                else spellings.get(value, value)
                for value in values[split]
            ]
            corpus.splits[split] = _with_labels(rows, respelt)
        corpus.labels = corpus.labels and list(dict.fromkeys(spellings.get(name, name) for name in corpus.labels))
    return describe_alike(counts, unified=wanted) + _describe_doubtful(counts, single=not multi)


def _describe_doubtful(counts: Counter[str], *, single: bool) -> list[str]:
    """Sentences about labels that may not mean what is learnt: none, several at once, a number."""
    notes = [
        f"The label {label!r} ({count:,} rows) is learnt as one like the others; rows without a label have to be left out."
        for label, count in counts.items()
        if is_missing_number(label) or (label.strip() in NO_NAMES and "+" not in counts)
    ]
    joint = find_joint(counts) if single else None
    if joint:
        example = next(label for label in counts if joint in label)
        notes.append(
            f"Labels such as {example!r} are learnt as one class each; --label_delimiter {joint!r} makes several labels "
            "of each."
        )
    if single and find_worded_numbers(counts):
        shown = listed(sorted(counts), limit=3)
        notes.append(
            f"The labels {shown} hold numbers, and are learnt as classes; numbers alone could be predicted as such."
        )
    return notes


def _with_labels(rows: Dataset, labels: list) -> Dataset:
    table = rows.with_format("arrow")[:]
    place = table.column_names.index("label")
    return Dataset(table.set_column(place, "label", pa.array(labels, table.schema.field("label").type)))


def check_texts(table: RowTable, choice: ColumnChoice) -> list[Problem]:
    """Files of another command: words with their tags, texts with spans."""
    if len(choice.label) != 1 or not choice.text or not has_column(table, choice.label[0]):
        return []
    labels = column_values(table, choice.label[0])[:ROWS_LOOKED_AT]
    remedy = "words with tags and texts with spans are learnt by run_ner.py"
    spans = [value for value in labels if isinstance(value, list) and value]
    if spans and all(isinstance(item, dict) or (isinstance(item, list) and len(item) == 3) for item in spans[0]):
        found = f"the column {choice.label[0]} holds spans of the text, as {str(spans[0][0])[:60]}"
        return [Problem(found, "a label for the whole text is expected", remedy, table.path)]
    texts = [value for value in column_values(table, choice.text[0])[:ROWS_LOOKED_AT] if isinstance(value, str)]
    names = {value for value in labels if isinstance(value, str)}
    if are_span_tags(names) and sum(len(text.split()) == 1 for text in texts) * 10 > len(texts) * 9:
        found = f"the rows are single words with tags, as {texts[0]!r} with {labels[0]!r}"
        return [Problem(found, "texts with labels are expected", remedy, table.path)]
    return []


def _check_class_per_row(rows: Dataset, labels: Collection[str]) -> list[Problem]:
    if len(rows) < FEWEST_ROWS or len(labels) < len(rows):
        return []
    found = f"every row of train has a label of its own ({len(labels):,} labels, as {listed(sorted(labels), limit=3)})"
    return [Problem(found, "a class has several rows to learn from", "check --label_column")]


def find_unknown_labels(corpus: Corpus, split: str, labels: list[str]) -> list[Problem]:
    """One problem for each label of a split that a list lacks."""
    rows = corpus.splits[split]
    if "label" not in rows.column_names or find_problem_type(corpus) is ProblemType.REGRESSION:
        return []
    known = set(labels)
    places: dict[str, list[int]] = {}
    for row, value in enumerate(rows["label"][:]):
        for label in value if isinstance(value, list) else [value]:
            if label not in known:
                places.setdefault(label, []).append(row)
    path = corpus.files.get(split, [None])[0] if len(corpus.files.get(split, [])) == 1 else None
    return [
        _unknown_label(label, found, rows, split, labels, path) for label, found in list(places.items())[:MAX_LISTED]
    ]


def _unknown_label(
    label: str, found: list[int], rows: Dataset, split: str, labels: list[str], path: Path | None
) -> Problem:
    remedy = "correct it, or add examples of it to train"
    if is_number(label) and all(map(is_number, labels)):
        remedy += "; labels that are numbers to be predicted, not classes, need --do_regression"
    line = (rows[found[0]]["line"] or None) if path else None
    place = split if line else f"row {found[0] + 1:,} of {split}"
    return unknown_label(
        label,
        labels,
        noun="label",
        place=place,
        uses=len(found),
        by="the label list",
        remedy=remedy,
        path=path,
        line=line,
    )


def _labels_of(rows: Dataset, kind: ProblemType) -> set[str]:
    values = rows["label"][:] if "label" in rows.column_names else []
    return set(chain.from_iterable(values)) if kind is ProblemType.MULTI else set(values)
