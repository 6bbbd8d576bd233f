"""What training rows weigh, and probabilities in the place of their label: read from columns, kept beside the label.

Both are of training alone: validation and test are scored by their labels. What the loss gets of a text of one label is
a row of numbers, one for each label: its probabilities, all times its weight. Of several labels, or of a number, it gets
these and behind them the weight.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset
from datasets.table import InMemoryTable

from finetune.arguments.nearest import allowed_values
from finetune.arguments.parser import Arguments
from finetune.classification.arguments import RowTargetArguments, split_names
from finetune.classification.column_choice import ProblemType
from finetune.classification.columns import sort_labels
from finetune.data.corpus import Corpus
from finetune.data.files import MAX_LISTED, read_lines
from finetune.data.json_values import parse_json
from finetune.data.row_files import RowTable
from finetune.errors import DataError, Problem, ProblemList
from finetune.supervised.row_weights import (
    WEIGHT,
    check_weights,
    describe_weights,
    no_such_column,
    read_weight,
    scale_weights,
)

SOFT = "probabilities"
TOLERANCE = 1e-3  # by which probabilities may miss 1, as those that were rounded do; they are made to sum to 1
FORMS = 'expected: {"label": probability, ...}, or a list of probabilities with --soft_label_order'


@dataclass(frozen=True)
class TargetColumns:
    """The columns of weights and of probabilities; `order` are the labels of probabilities that come as lists."""

    weight: str | None = None
    soft: str | None = None
    order: tuple[str, ...] = ()

    @property
    def named(self) -> list[str]:
        return [name for name in (self.weight, self.soft) if name]


def ask_targets(arguments: Arguments) -> TargetColumns:
    """What the flags say; the order of labels is read from its file, where it is one.

    Raises:
        DataError: the order names a label twice, or a file that cannot be read.
    """
    soft = arguments.find(RowTargetArguments) or RowTargetArguments()
    order = _read_order(soft.soft_label_order) if soft.soft_label_order else ()
    return TargetColumns(arguments.get("weight_column"), soft.soft_label_column, order)


def _read_order(asked: str) -> tuple[str, ...]:
    path = Path(asked).expanduser()
    lines = read_lines(path).lines if path.is_file() else None
    labels = split_names(asked) if lines is None else tuple(line.strip() for line in lines if line.strip())
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice or len(labels) < 2:
        found = f"names {twice[0]!r} twice" if twice else f"names {len(labels)} label: {asked!r}"
        allowed = "two labels or more, each once, separated by commas, or a file with one a line"
        raise DataError(Problem(f"--soft_label_order {found}", allowed))
    return labels


@dataclass
class RowTargets:
    """Of each training row: its weight, and its probabilities as JSON ("" where it has a plain label)."""

    weights: list[float] | None = None
    soft: list[str] | None = None
    labels: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def take_targets(
    tables: Mapping[str, RowTable], asked: TargetColumns, label: str, problems: ProblemList, *, required: bool = True
) -> RowTargets:
    """Take the columns out of all tables; `label` is filled in by the likeliest where a row has none.

    Where they are not `required`, as other files may have them, columns that are not there are not read. What is not
    there, and weights or probabilities that are none, are added to `problems`, each with its line.
    """
    targets = RowTargets()
    if not asked.named or "train" not in tables:
        return targets
    train = tables["train"]
    missing = [name for name in asked.named if name not in train.columns]
    if required:
        problems.extend(_no_column(name, asked, train) for name in missing)
    asked = replace(
        asked,
        weight=None if asked.weight in missing else asked.weight,
        soft=None if asked.soft in missing else asked.soft,
    )
    found: list[Problem] = []
    if asked.weight:
        targets.weights = _read_weights(train, asked.weight, found, targets.notes)
    if asked.soft:
        _read_soft(train, asked, label, targets, found)
    problems.extend(sorted(found, key=lambda problem: (str(problem.path), problem.line or 0))[:MAX_LISTED])
    for table in tables.values():
        table.columns = {name: values for name, values in table.columns.items() if name not in asked.named}
    return targets


def _no_column(name: str, asked: TargetColumns, train: RowTable) -> Problem:
    if name == asked.weight:
        return no_such_column(name, train.columns, path=train.path)
    found = f"--soft_label_column {name}: train has no such column"
    return Problem(found, allowed_values(name, train.columns), path=train.path)


def _read_weights(table: RowTable, name: str, problems: list[Problem], notes: list[str]) -> list[float]:
    values = table.columns[name]
    wrong = check_weights(values, [table.place(row) for row in range(len(table))])
    weights = [read_weight(value) for value in values]
    if not any(weights):
        wrong = [Problem(f"all rows of {name} weigh nothing", path=table.path)]
    problems += wrong
    notes += [] if wrong else [describe_weights(weights, name)]
    return weights


def _read_soft(table: RowTable, asked: TargetColumns, label: str, targets: RowTargets, problems: list[Problem]) -> None:
    """Probabilities of each row, and the likeliest label where none is given."""
    name = asked.soft or ""
    order = asked.order or tuple(table.label_names.get(name) or ())
    labels = list(table.columns.get(label, [None] * len(table)))
    targets.soft = []
    for row, value in enumerate(table.columns[name]):
        found = _probabilities(value, order)
        if isinstance(found, str):
            problems.append(Problem(found, FORMS, **table.place(row)))
            found, value = {}, _any_label(value, labels, targets)
            labels[row] = value if labels[row] in (None, "") else labels[row]  # the row is complained of once
        targets.soft.append(json.dumps(found, ensure_ascii=False) if found else "")
        targets.labels |= set(found)
        if found and labels[row] in (None, ""):
            labels[row] = max(found, key=lambda key: found[key])
    table.columns[label] = labels
    count = sum(bool(item) for item in targets.soft)
    targets.notes.append(
        f"train: {count:,} of {len(table):,} rows have probabilities ({name}) in the place of a label."
    )


def _any_label(value: object, labels: Sequence[Any], targets: RowTargets) -> str:
    own = list(value) if isinstance(value, dict) else []
    return str(next((item for item in [*own, *sorted(targets.labels), *labels] if item not in (None, "")), "unknown"))


def _probabilities(value: Any, order: Sequence[str]) -> dict[str, float] | str:
    """The probabilities of a cell, empty for none; a sentence where they are none."""
    if isinstance(value, str) and value.strip():
        try:
            value = parse_json(value)
        except ValueError:
            return f"the probabilities are {value[:60]!r}"
    if value is None or value == "":
        return {}
    if isinstance(value, list) and value:
        if not order:
            return f"the probabilities are the list {str(value)[:60]}, and nothing says which labels these are of"
        if len(value) != len(order):
            return f"the probabilities are {len(value)} in number, and --soft_label_order names {len(order)} labels"
        value = dict(zip(order, value, strict=True))
    if not isinstance(value, dict) or not value:
        return f"the probabilities are {str(value)[:60]}"
    found = {str(key).strip(): _number(item) for key, item in value.items() if item is not None}
    if not all(math.isfinite(item) and item >= 0 for item in found.values()):
        return f"a probability is negative or no number in {str(value)[:60]}"
    total = sum(found.values())
    if abs(total - 1) > TOLERANCE:
        return f"the probabilities sum to {total:g}, not to 1"
    return {key: item / total for key, item in found.items()}


def _number(value: object) -> float:
    try:
        return math.nan if isinstance(value, bool) else float(cast(str, value))
    except (TypeError, ValueError):
        return math.nan


def keep_targets(corpus: Corpus, targets: RowTargets) -> None:
    """Put them beside the labels of train, whose rows are those of its table.

    Raises:
        DataError: probabilities where the labels are several a text, or numbers; or of a label that is none.
    """
    if targets.weights is None and targets.soft is None:
        return
    train = corpus.splits["train"]
    if targets.soft is not None and getattr(train.features.get("label"), "dtype", None) != "string":
        found = "probabilities in the place of labels are for texts of one label each"
        raise DataError(Problem(found, remedy="drop --soft_label_column"))
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


def require_targets(corpus: Corpus, arguments: Arguments) -> None:
    """Nothing, unless columns were asked for that a corpus of ours, read in its own way, cannot have.

    Raises:
        DataError: it has none, and no silver file may have them instead.
    """
    asked = ask_targets(arguments)
    if "train" not in corpus.splits or arguments.get("silver_file"):
        return
    kept = corpus.splits["train"].column_names
    flags = {"weight_column": (asked.weight, WEIGHT), "soft_label_column": (asked.soft, SOFT)}
    problems = [
        Problem(
            f"--{flag} {name}: the corpus {corpus.name} has no such column", "it is read from files", "drop the flag"
        )
        for flag, (name, column) in flags.items()
        if name and column not in kept
    ]
    if problems:
        raise DataError(*problems)


def encode_targets(
    split: Dataset, ids: npt.NDArray, labels: Sequence[str], problem_type: ProblemType, examples: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32] | None:
    """What the loss gets of each text of a split that has weights or probabilities; None of one that has neither.

    Texts of one label: (texts, labels), probabilities times the weight. Of several: (texts, labels + 1), 0/1 decisions
    and the weight; numbers: (texts, 2). Weights are 1 in the mean over the rows, whose texts are `examples`.

    Raises:
        DataError: all weights are 0.
    """
    if WEIGHT not in split.column_names and SOFT not in split.column_names:
        return None
    weights = np.ones(len(split), dtype=np.float32)
    if WEIGHT in split.column_names:
        weights = scale_weights(split[WEIGHT][:], np.bincount(examples, minlength=len(split)))
    if problem_type is not ProblemType.SINGLE:
        return np.column_stack([ids.reshape(len(split), -1), weights]).astype(np.float32)
    targets = np.zeros((len(split), len(labels)), dtype=np.float32)
    targets[np.arange(len(split)), ids] = 1.0
    numbers = {label: number for number, label in enumerate(labels)}
    for row, text in enumerate(split[SOFT][:] if SOFT in split.column_names else ()):
        if text:
            found = parse_json(text)
            targets[row] = 0.0
            targets[row, [numbers[label] for label in found]] = list(found.values())
    return targets * weights.reshape(-1, 1)
