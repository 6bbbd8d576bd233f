"""What training rows weigh, and probabilities in the place of their label: read from columns, kept beside the label.

Both are of training alone: validation and test are scored by their labels. A target is a row of numbers, one for each label:
the probabilities of a text, all times its weight, so that the loss of a text of weight 2 is that of the text twice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset
from datasets.table import InMemoryTable

from finetune.arguments.nearest import allowed_values
from finetune.classification.arguments import RowTargetArguments
from finetune.classification.columns import sort_labels
from finetune.data.corpus import Corpus
from finetune.data.files import MAX_LISTED
from finetune.data.json_values import parse_json
from finetune.data.row_files import RowTable
from finetune.errors import DataError, Problem
from finetune.supervised.silver import WEIGHT

SOFT = "probabilities"
TOLERANCE = 1e-3  # by which probabilities may miss 1, as those that were rounded do; they are made to sum to 1


@dataclass
class RowTargets:
    """Of each training row: its weight, and its probabilities as JSON ("" where it has a plain label)."""

    weights: list[float] | None = None
    soft: list[str] | None = None
    labels: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def take_targets(
    tables: Mapping[str, RowTable], asked: RowTargetArguments, label: str, *, required: bool = True
) -> RowTargets:
    """Take the columns out of all tables; `label` is filled in by the likeliest where a row has none.

    Where they are not `required`, as other files may have them, columns that are not there are not read.

    Raises:
        DataError: columns that are not there, weights or probabilities that are none, each with its line.
    """
    targets = RowTargets()
    typed = {"weight_column": asked.weight_column, "soft_label_column": asked.soft_label_column}
    if not any(typed.values()) or "train" not in tables:
        return targets
    train = tables["train"]
    if not required:
        asked = replace(asked, **{flag: name if name in train.columns else None for flag, name in typed.items()})
    missing = [
        Problem(f"--{flag} {name}: train has no such column", allowed_values(name, train.columns), path=train.path)
        for flag, name in typed.items()
        if required and name and name not in train.columns
    ]
    if missing:
        raise DataError(*missing)
    problems: list[Problem] = []
    if asked.weight_column:
        targets.weights = _read_weights(train, asked.weight_column, problems, targets.notes)
    if asked.soft_label_column:
        _read_soft(train, asked.soft_label_column, label, targets, problems)
    if problems:
        raise DataError(*problems[:MAX_LISTED])
    for table in tables.values():
        table.columns = {name: values for name, values in table.columns.items() if name not in typed.values()}
    return targets


def _place(table: RowTable, row: int) -> dict[str, Any]:
    return {"path": table.path, "line": table.lines[row] or None}


def _read_weights(table: RowTable, name: str, problems: list[Problem], notes: list[str]) -> list[float]:
    weights = [_number(value) for value in table.columns[name]]
    for row, weight in enumerate(weights):
        if not (math.isfinite(weight) and weight >= 0):
            found = f"the weight of the row is {table.columns[name][row]!r}"
            problems.append(Problem(found, "a number from 0 on is expected", **_place(table, row)))
    if not problems:
        idle = sum(weight == 0 for weight in weights)
        words = f"train: rows weigh {min(weights):g} to {max(weights):g}, {np.mean(weights):.4g} in the mean"
        notes.append(f"{words} ({name}); {idle:,} of {len(weights):,} weigh nothing.")
        if idle == len(weights):
            problems.append(Problem(f"all rows of {name} weigh nothing", path=table.path))
    return weights


def _number(value: Any) -> float:
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return math.nan


def _read_soft(table: RowTable, name: str, label: str, targets: RowTargets, problems: list[Problem]) -> None:
    """Probabilities of each row, and the likeliest label where none is given."""
    labels = list(table.columns.get(label, [None] * len(table)))
    targets.soft = []
    for row, value in enumerate(table.columns[name]):
        found = _probabilities(value)
        if isinstance(found, str):
            problems.append(Problem(found, 'expected: {"label": probability, ...}', **_place(table, row)))
            found = {}
        targets.soft.append(json.dumps(found, ensure_ascii=False) if found else "")
        targets.labels |= set(found)
        if found and labels[row] in (None, ""):
            labels[row] = max(found, key=lambda key: found[key])
    table.columns[label] = labels
    count = sum(bool(item) for item in targets.soft)
    targets.notes.append(
        f"train: {count:,} of {len(table):,} rows have probabilities ({name}) in the place of a label."
    )


def _probabilities(value: Any) -> dict[str, float] | str:
    """The probabilities of a cell, empty for none; a sentence where they are none."""
    if isinstance(value, str) and value.strip():
        try:
            value = parse_json(value)
        except ValueError:
            return f"the probabilities are {value[:60]!r}"
    if value is None or value == "":
        return {}
    if not isinstance(value, dict) or not value:
        return f"the probabilities are {str(value)[:60]}"
    found = {str(key).strip(): _number(item) for key, item in value.items() if item is not None}
    if not all(math.isfinite(item) and item >= 0 for item in found.values()):
        return f"a probability is negative or no number in {str(value)[:60]}"
    total = sum(found.values())
    if abs(total - 1) > TOLERANCE:
        return f"the probabilities sum to {total:g}, not to 1"
    return {key: item / total for key, item in found.items()}


def keep_targets(corpus: Corpus, targets: RowTargets) -> None:
    """Put them beside the labels of train, whose rows are those of its table.

    Raises:
        DataError: the labels are several a text, or numbers.
    """
    if targets.weights is None and targets.soft is None:
        return
    train = corpus.splits["train"]
    if getattr(train.features.get("label"), "dtype", None) != "string":
        found = "weights and probabilities of rows are for texts of one label each"
        raise DataError(Problem(found, remedy="drop --weight_column and --soft_label_column"))
    table = train.data.table
    if targets.weights is not None:
        table = table.append_column(WEIGHT, pa.array(targets.weights, pa.float32()))
    if targets.soft is not None:
        table = table.append_column(SOFT, pa.array(targets.soft, pa.string()))
        corpus.labels = corpus.labels or sort_labels({*train.unique("label"), *targets.labels})
        strange = sorted(targets.labels - set(corpus.labels))
        if strange:
            found = f"probabilities are given for {strange[0]!r}, which is no label"
            raise DataError(Problem(found, allowed_values(strange[0], corpus.labels)))
    corpus.splits["train"] = Dataset(InMemoryTable(table))
    corpus.notes += targets.notes


def encode_targets(split: Dataset, ids: npt.NDArray[np.int64], labels: Sequence[str]) -> npt.NDArray[np.float32] | None:
    """Targets (texts, labels) of a split that has weights or probabilities; None of one that has neither."""
    if WEIGHT not in split.column_names and SOFT not in split.column_names:
        return None
    targets = np.zeros((len(split), len(labels)), dtype=np.float32)
    targets[np.arange(len(split)), ids] = 1.0
    numbers = {label: number for number, label in enumerate(labels)}
    for row, text in enumerate(split[SOFT][:] if SOFT in split.column_names else ()):
        if text:
            found = parse_json(text)
            targets[row] = 0.0
            targets[row, [numbers[label] for label in found]] = list(found.values())
    weights = np.asarray(split[WEIGHT][:] if WEIGHT in split.column_names else 1.0, dtype=np.float32)
    return targets * weights.reshape(-1, 1)
