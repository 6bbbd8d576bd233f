"""Which columns of a table hold texts and labels, and what kind of labels: chosen by the user, else by usual names.

A label is one of three kinds, in the words of a model's configuration: one label per text, several labels per text, or
a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from finetune.arguments.nearest import nearest
from finetune.data.files import listed
from finetune.data.row_files import RowTable
from finetune.errors import DataError, Problem

# Usual pairs of text columns, looked for in this order where --text_column is not given.
TEXT_PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text", "text_pair"),
)
TEXTS = ("text", "sentence", "texts", "review", "content", "body", "comment", "title")
LABELS = ("label", "labels", "category", "class", "target", "sentiment", "score")
NOT_TEXTS = ("id", "idx", "index", "guid", "uid")


class ProblemType(StrEnum):
    """What a label is; the values are those of `config.problem_type`."""

    SINGLE = "single_label_classification"
    MULTI = "multi_label_classification"
    REGRESSION = "regression"


@dataclass(frozen=True)
class ColumnChoice:
    """Which columns hold what. Several `text` columns are joined with `join`; several `label` columns hold 0 and 1.

    A dotted name (`translation.th`) is a field of a column of records.
    """

    text: tuple[str, ...] = ()
    text_pair: str | None = None
    label: tuple[str, ...] = ()
    join: str = " "
    label_delimiter: str | None = None
    regression: bool | None = None


def choose_columns(table: RowTable, choice: ColumnChoice, *, needs_label: bool) -> tuple[ColumnChoice, list[str]]:
    """Complete a choice with the usual names, and say what was chosen.

    Raises:
        DataError: a named column is not there (with the nearest that is), or none can be chosen.
    """
    names = list(table.columns)
    wanted = [
        *((name, "--text_column") for name in choice.text),
        *([(choice.text_pair, "--text_pair_column")] if choice.text_pair else []),
        *((name, "--label_column") for name in choice.label if needs_label),
    ]
    problems = [_no_column(name, flag, names, table) for name, flag in wanted if not has_column(table, name)]
    if problems:
        raise DataError(*problems)
    label = choice.label or tuple(name for name in LABELS if name in names)[:1]
    if needs_label and not label:
        there = f"the columns are {listed(names)}"
        raise DataError(Problem("no column is called label", there, "name it with --label_column", table.path))
    text, pair = (choice.text, choice.text_pair) if choice.text else _usual_texts(table, label)
    chosen = replace(choice, text=text, text_pair=pair or choice.text_pair, label=label)
    if choice.text and choice.label:
        return chosen, []
    return chosen, [_describe_choice(chosen, table)]


def _describe_choice(choice: ColumnChoice, table: RowTable) -> str:
    pair = f" and {choice.text_pair}" if choice.text_pair else ""
    label = f", label from {' and '.join(choice.label)}" if choice.label else ", no labels"
    place = f"{table.path}: " if table.path else ""
    return f"{place}text from {' and '.join(choice.text)}{pair}{label}."


def _usual_texts(table: RowTable, label: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """The usual names; else the only columns of text there are: one, or two as a pair."""
    names = [name for name in table.columns if name not in label]
    for first, second in TEXT_PAIRS:
        if first in names and second in names:
            return (first,), second
    usual = next((name for name in TEXTS if name in names), None)
    if usual:
        return (usual,), None
    texts = [name for name in names if name.lower() not in NOT_TEXTS and _holds_text(table, name)]
    if len(texts) in (1, 2):
        return (texts[0],), texts[1] if len(texts) == 2 else None
    there = f"the columns are {listed(list(table.columns))}"
    raise DataError(Problem("the text column cannot be told", there, "name it with --text_column", table.path))


def _holds_text(table: RowTable, name: str) -> bool:
    values = [value for value in table.columns[name][:1000] if value not in (None, "")]
    return bool(values) and all(isinstance(value, str) for value in values) and not all(map(is_number, values))


def has_column(table: RowTable, name: str) -> bool:
    head = name.partition(".")[0]
    return name in table.columns or (head != name and head in table.columns)


def _no_column(name: str, flag: str, names: list[str], table: RowTable) -> Problem:
    match = nearest(name, names)
    there = f"the columns are {listed(names)}" + (f", the nearest is {match!r}" if match else "")
    return Problem(f"there is no column {name!r} ({flag})", there, "", table.path)


def column_values(table: RowTable, name: str) -> list[Any]:
    """The values of a column, or of a field of a column of records; None where a record lacks it."""
    if name in table.columns:
        return table.columns[name]
    head, _, rest = name.partition(".")
    values = table.columns[head]
    for key in rest.split("."):
        values = [value.get(key) if isinstance(value, dict) else None for value in values]
    return values


def detect_problem_type(table: RowTable, choice: ColumnChoice) -> ProblemType:
    """What the labels of a split are: as asked, else several columns or lists, fractions, or single labels."""
    if choice.regression:
        return ProblemType.REGRESSION
    if len(choice.label) > 1 or choice.label_delimiter:
        return ProblemType.MULTI
    values = [value for value in column_values(table, choice.label[0]) if value not in (None, "")]
    if any(isinstance(value, list) for value in values):
        return ProblemType.MULTI
    if choice.regression is None and _are_fractions(values):
        return ProblemType.REGRESSION
    return ProblemType.SINGLE


def _are_fractions(values: Sequence[Any]) -> bool:
    """Numbers throughout, at least one of which is not whole."""
    if not values or not all(is_number(value) for value in values):
        return False
    return any(not float(value).is_integer() for value in values)


def is_number(value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return False
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
