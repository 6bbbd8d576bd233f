"""The label columns of all splits, made ready together: lists, vectors of decisions, numbers in one spelling.

What is read otherwise than it is written is said. Columns with declared names (of the hub, of Parquet) stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from finetune.classification.column_choice import ColumnChoice, has_column
from finetune.classification.label_values import (
    are_fractions,
    are_numbers,
    find_other_numbers,
    find_vector_width,
    is_missing_number,
    parse_lists,
    whole_number,
)
from finetune.data.files import listed
from finetune.data.list_cells import is_list_cell, parse_list
from finetune.data.row_files import RowTable
from finetune.errors import Problem

Tables = Mapping[str, RowTable]


def settle_labels(tables: Tables, choice: ColumnChoice) -> list[str]:
    """Rewrite the one label column of all tables, in place; the sentences say what was done.

    Lists in the cells of CSV become lists, one-hot vectors the names of their places ("0", "1", ...), lists of exactly
    one label that label; white space around labels goes, and whole numbers are spelt as such (`1.0` is `1`).
    """
    column = _column(tables, choice)
    if column is None:
        return []
    notes = []
    present = [table for table in tables.values() if column in table.columns]
    for step in (_parse_lists, _name_places, _unpack_single, _strip):
        notes += step(present, column)
    return notes + _spell_numbers(present, column, regression=bool(choice.regression))


def check_spellings(tables: Tables, choice: ColumnChoice) -> list[Problem]:
    """Numbers and lists as people write them and no program reads: each would become a class of its own."""
    column = _column(tables, choice)
    if column is None:
        return []
    present = {split: table for split, table in tables.items() if column in table.columns}
    checks = [_check_list] if choice.regression is False else [_check_list, _check_spelling]
    return [problem for check in checks for split, table in present.items() if (problem := check(table, split, column))]


def _check_list(table: RowTable, split: str, column: str) -> Problem | None:
    """The first cell that is no list, of a column in which most begin and end like one."""
    values = [value if isinstance(value, str) else "" for value in table.columns[column]]
    like = [row for row, value in enumerate(values) if is_list_cell(value)]
    broken = next((row for row in like if parse_list(values[row]) is None), None)
    if broken is None or len(like) * 2 <= sum(map(bool, values)):
        return None
    found = f"the label {values[broken][:60]!r} of {split} looks like a list and cannot be read as one"
    allowed = 'lists are written like ["a", "b"]'
    return Problem(found, allowed, "write them so", **table.place(broken))


def _check_spelling(table: RowTable, split: str, column: str) -> Problem | None:
    other = find_other_numbers(table.columns[column])
    if not other:
        return None
    place = next(row for row, value in enumerate(table.columns[column]) if str(value).strip() == other[0])
    found = f"the label {other[0]!r} of {split} looks like a number, and {len(set(other)):,} such labels occur"
    allowed = "a number is written like 4.6 (a point, no %, no fraction)"
    remedy = "write them so to predict numbers; --do_regression False makes a class of each"
    if all("," in value for value in other):
        remedy += "; --label_delimiter , makes several labels of each"
    return Problem(found, allowed, remedy, **table.place(place))


def _column(tables: Tables, choice: ColumnChoice) -> str | None:
    """The label column, where there is one, undeclared, and no other flag says how to read it."""
    if len(choice.label) != 1 or choice.label_delimiter:
        return None
    name = choice.label[0]
    fits = [has_column(table, name) and name not in table.label_names for table in tables.values()]
    return name if any(fits) and not any(name in table.label_names for table in tables.values()) else None


def _values(tables: list[RowTable], column: str) -> list[Any]:
    return [value for table in tables for value in table.columns[column]]


def _rewrite(tables: list[RowTable], column: str, change: Callable[[Any], Any]) -> int:
    """Change every value; how many are others now."""
    changed = 0
    for table in tables:
        new = [change(value) for value in table.columns[column]]
        pairs = zip(new, table.columns[column], strict=True)
        changed += sum(type(after) is not type(before) or after != before for after, before in pairs)
        table.columns[column] = new
    return changed


def _parse_lists(tables: list[RowTable], column: str) -> list[str]:
    lists = parse_lists(_values(tables, column))
    if lists is None:
        return []
    rest = iter(lists)
    for table in tables:
        table.columns[column] = [next(rest) for _ in table.columns[column]]
    return [f"The cells of {column} are lists; each is read as several labels."]


def _name_places(tables: list[RowTable], column: str) -> list[str]:
    width = find_vector_width(_values(tables, column))
    if width is None:
        return []
    names = [str(place) for place in range(width)]
    _rewrite(
        tables,
        column,
        lambda value: (
            [name for name, flag in zip(names, value, strict=True) if flag] if isinstance(value, list) else value
        ),
    )
    what = f"The lists of {column} hold {width} decisions of 0 and 1 each"
    return [f"{what}; their labels are called by their places, {listed(names)}."]


def _unpack_single(tables: list[RowTable], column: str) -> list[str]:
    values = _values(tables, column)
    if not values or not all(isinstance(value, list) and len(value) == 1 for value in values):
        return []
    _rewrite(tables, column, lambda value: value[0])
    return [f"Every list of {column} has exactly one label: each text has one class (not several labels)."]


def _strip(tables: list[RowTable], column: str) -> list[str]:
    def strip(value: Any) -> Any:
        if isinstance(value, list):
            return [item.strip() if isinstance(item, str) else item for item in value]
        return value.strip() if isinstance(value, str) else value

    changed = _rewrite(tables, column, strip)
    return [f"{changed:,} labels had white space around them, which was cut off."] if changed else []


def _spell_numbers(tables: list[RowTable], column: str, *, regression: bool) -> list[str]:
    """Whole numbers in one spelling over all splits; cells like `nan` among numbers are empty ones."""
    values = [value for value in _values(tables, column) if not isinstance(value, list)]
    if not are_numbers(values):
        return []
    _rewrite(tables, column, lambda value: None if is_missing_number(value) else value)
    if regression or are_fractions(values):
        return []
    respelt = sorted({str(value) for value in values if (new := whole_number(value)) and str(value) != new})
    _rewrite(tables, column, lambda value: whole_number(value) or value)
    return [f"The labels {listed(respelt)} are read as whole numbers, without a fraction."] if respelt else []
