"""Labels of a classification corpus: what kind they are, which there are, which do not belong."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from finetune.classification.column_choice import ProblemType
from finetune.classification.columns import sort_labels
from finetune.data.corpus import Corpus
from finetune.data.files import MAX_LISTED, listed
from finetune.encoding.unknown_labels import unknown_label
from finetune.errors import DataError, Problem


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
        if len(corpus.labels) < 2 and kind is ProblemType.SINGLE:
            found = f"train has one label only, {listed(corpus.labels)}"
            raise DataError(Problem(found, "two or more are needed", "check --label_column"))
    if corpus.labels is not None:
        problems = [problem for split in corpus.splits for problem in find_unknown_labels(corpus, split, corpus.labels)]
        if problems:
            raise DataError(*problems)


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
    line = (rows[found[0]]["line"] or None) if path else None
    place = split if line else f"row {found[0] + 1:,} of {split}"
    return unknown_label(
        label, labels, noun="label", place=place, uses=len(found), by="the label list", path=path, line=line
    )


def _labels_of(rows: Dataset, kind: ProblemType) -> set[str]:
    values = rows["label"][:] if "label" in rows.column_names else []
    return set(chain.from_iterable(values)) if kind is ProblemType.MULTI else set(values)
