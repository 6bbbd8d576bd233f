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
from finetune.classification.label_values import are_fractions, is_missing, is_number, read_flag
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
TAG_COLUMNS = ("ner_tags", "tags", "pos_tags", "chunk_tags", "ner", "spans", "entities")  # those of taggers
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
    choice = _match_names(choice, names)
    wanted = [
        *((name, "--text_column") for name in choice.text),
        *([(choice.text_pair, "--text_pair_column")] if choice.text_pair else []),
        *((name, "--label_column") for name in choice.label if needs_label),
    ]
    problems = [_no_column(name, flag, names, table) for name, flag in wanted if not has_column(table, name)]
    if problems:
        raise DataError(*problems)
    label = choice.label or tuple(found for name in LABELS if (found := _find(name, names)))[:1]
    if needs_label and not label:
        there = f"the columns are {listed(names)}"
        raise DataError(Problem("no column is called label", there, _name_the_label(table), table.path))
    text, pair = (choice.text, choice.text_pair) if choice.text else _usual_texts(table, label)
    chosen = replace(choice, text=text, text_pair=pair or choice.text_pair, label=label)
    if choice.text and choice.label:
        return chosen, []
    return chosen, [_describe_choice(chosen, table)]


def _find(wanted: str, names: Sequence[str]) -> str | None:
    """The column of that name, else the only one that differs from it in capitals and white space alone."""
    if wanted in names:
        return wanted
    alike = [name for name in names if name.strip().casefold() == wanted.strip().casefold()]
    return alike[0] if len(alike) == 1 else None


def _match_names(choice: ColumnChoice, names: Sequence[str]) -> ColumnChoice:
    """The choice with the names as the table spells them, where it has them."""
    pair = choice.text_pair
    return replace(
        choice,
        text=tuple(_find(name, names) or name for name in choice.text),
        text_pair=pair if pair is None else _find(pair, names) or pair,
        label=tuple(_find(name, names) or name for name in choice.label),
    )


def _name_the_label(table: RowTable) -> str:
    """What to do where no column is called label: name it; or it is another command's file, or has no header."""
    names = list(table.columns)
    first = {name: next((value for value in table.columns[name] if value), None) for name in names}
    lists = [name for name, value in first.items() if isinstance(value, list)]
    if any(normal in TAG_COLUMNS for name in lists if (normal := name.lower())):
        return "words with tags are learnt by run_ner.py; a label for the whole text is named with --label_column"
    flags = [name for name in names if _holds_flags(table, name)]
    if len(flags) > 1:
        return f"name it with --label_column; or several that hold decisions, as --label_column {','.join(flags)}"
    if table.are_texts and not any(_find(name, names) for name in (*TEXTS, *LABELS)):
        return (
            "name it with --label_column; or, if the first line is a row like the others, name all columns with "
            f"--column_names (as in --column_names {','.join(('text', 'label', 'c', 'd', 'e')[: len(names)])})"
        )
    return "name it with --label_column"


def _holds_flags(table: RowTable, name: str) -> bool:
    values = [value for value in table.columns[name][:1000] if not is_missing(value)]
    return bool(values) and all(read_flag(value) is not None for value in values)


def _describe_choice(choice: ColumnChoice, table: RowTable) -> str:
    pair = f" and {choice.text_pair}, as a pair" if choice.text_pair else ""
    label = f", label from {' and '.join(choice.label)}" if choice.label else ", no labels"
    place = f"{table.path}: " if table.path else ""
    return f"{place}text from {' and '.join(choice.text)}{pair}{label}."


def _usual_texts(table: RowTable, label: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """The usual names; else the only columns of text there are: one, or two as a pair."""
    names = [name for name in table.columns if name not in label]
    for first, second in TEXT_PAIRS:
        one, other = _find(first, names), _find(second, names)
        if one and other:
            return (one,), other
    usual = next((found for name in TEXTS if (found := _find(name, names))), None)
    if usual:
        return (usual,), None
    texts = [name for name in names if name.lower() not in NOT_TEXTS and _holds_text(table, name)]
    if len(texts) in (1, 2):
        return (texts[0],), texts[1] if len(texts) == 2 else None
    there = f"the columns are {listed(list(table.columns))}"
    words = next((name for name in ("tokens", "words") if _holds_lists(table, name)), None)
    if words:
        found = f"the column {words} holds lists of words and no column holds texts"
        raise DataError(Problem(found, there, "words with tags are learnt by run_ner.py", table.path))
    raise DataError(Problem("the text column cannot be told", there, "name it with --text_column", table.path))


def _holds_text(table: RowTable, name: str) -> bool:
    values = [value for value in table.columns[name][:1000] if value not in (None, "")]
    return bool(values) and all(isinstance(value, str) for value in values) and not all(map(is_number, values))


def _holds_lists(table: RowTable, name: str) -> bool:
    return any(isinstance(value, list) for value in table.columns.get(name, [])[:1000])


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
    if choice.regression is None and are_fractions(values):
        return ProblemType.REGRESSION
    return ProblemType.SINGLE
