"""What the cells of a label column are: names, numbers however they are written, lists, vectors of decisions.

Nothing here decides by one cell: a column is numbers, or lists, if all its filled cells are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from finetune.data.list_cells import parse_list

MISSING = frozenset({"", "nan", "na", "n/a", "#n/a", "null", "none", "<na>", "nat"})  # what pandas and Excel write
WHOLE = re.compile(r"[-+]?[0-9]+(?:\.0*)?")
FLAGS = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True, "no": False, "yes": True}
# Numbers that no program reads as such: 4,6 and 40% and 1/2, 1.000,5 and 1 000, $4.50 and 3 of 5.
_SIGN, _MONEY = r"[-+\u2212]?", r"[$\u20ac\u00a3\u00a5\u20b9\u0e3f\u20a9]"
_GROUPED = r"[0-9]{1,3}(?:[,'\u2019\u00a0\u202f ][0-9]{3})+(?:\.[0-9]+)?"
_DOTTED = r"[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+|[0-9]{1,3}(?:\.[0-9]{3}){2,}"
_COMMA = r"[0-9]+,[0-9]+"
_ANY = rf"(?:{_GROUPED}|{_DOTTED}|{_COMMA}|[0-9]+(?:\.[0-9]+)?)"
OTHER_NUMBER = re.compile(
    rf"{_SIGN}(?:{_GROUPED}|{_DOTTED}|{_COMMA})|\u2212[0-9]+(?:\.[0-9]+)?|{_SIGN}{_ANY} ?(?:%|{_MONEY})"
    rf"|{_SIGN}{_MONEY} ?{_ANY}|{_ANY} ?(?:/|of|out of) ?[0-9]+"
)
WORDED_NUMBER = re.compile(r"(\D*?)\s*([-+]?[0-9]+(?:\.[0-9]+)?)\s*(\D*)")
JOINTS = (",", ";", "|", "/", "+", "&")  # what stands between the labels of a cell that holds several


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, or the text of one."""
    if isinstance(value, bool) or value is None:
        return False
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return number == number and abs(number) != float("inf")


def is_missing(value: Any) -> bool:
    """Whether a cell is empty; a NaN is, as pandas writes it for an empty cell."""
    return value is None or value == "" or (isinstance(value, float) and value != value)


def is_missing_number(value: Any) -> bool:
    """Whether a cell of a column of numbers is one of the words for an empty one (`nan`, `N/A`)."""
    return is_missing(value) or (isinstance(value, str) and value.strip().lower() in MISSING)


def are_numbers(values: Sequence[Any]) -> bool:
    """Whether all cells that are filled are numbers."""
    filled = [value for value in values if not is_missing_number(value)]
    return bool(filled) and all(map(is_number, filled))


def are_fractions(values: Sequence[Any]) -> bool:
    """Numbers throughout, at least one of which is not whole."""
    return are_numbers(values) and any(
        not float(value).is_integer() for value in values if not is_missing_number(value)
    )


def find_other_numbers(values: Sequence[Any]) -> list[str]:
    """The cells that are numbers written in a way that is not read, of a column that holds nothing but numbers."""
    texts = [value.strip() for value in values if isinstance(value, str) and not is_missing_number(value)]
    other = [text for text in texts if OTHER_NUMBER.fullmatch(text)]
    return other if other and all(is_number(text) or OTHER_NUMBER.fullmatch(text) for text in texts) else []


def find_worded_numbers(labels: Collection[str]) -> bool:
    """Whether labels are numbers within the same words, as `1 star`, `2 stars`, `3 stars` nearly are."""
    matches = [WORDED_NUMBER.fullmatch(label) for label in labels]
    around = {(match[1], match[3].removesuffix("s")) for match in matches if match}
    return len(labels) > 2 and all(matches) and len(around) == 1 and around != {("", "")}


def find_joint(labels: Collection[str]) -> str | None:
    """What stands between labels in most cells, where the parts come again in others: `a,b`, `a,c`, `b,c`."""
    for joint in JOINTS:
        parts = [[part.strip() for part in label.split(joint)] for label in labels]
        counts = Counter(part for own in parts for part in set(own))
        joined = [own for own in parts if len(own) > 1]
        again = [own for own in joined if all(part and counts[part] > 1 for part in own)]
        if len(joined) * 2 >= len(labels) > 2 and len(again) * 2 > len(joined):
            return joint
    return None


def whole_number(value: Any) -> str | None:
    """The usual spelling of a whole number (`1.0`, `+1` and 1 are `1`); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        return str(int(float(value))) if WHOLE.fullmatch(value.strip()) else None
    return str(int(value)) if float(value).is_integer() else None


def read_flag(value: Any) -> bool | None:
    """A decision: 0 or 1, true or false, however it is spelt; None where it is none."""
    if isinstance(value, bool | int | float):
        return bool(value) if value in (0, 1) else None
    return FLAGS.get(value.strip().lower()) if isinstance(value, str) else None


def parse_lists(values: Sequence[Any]) -> list[Any] | None:
    """A column of texts that are lists (`['a', 'b']`, as pandas writes them) as lists; None where it is none."""
    filled = [value for value in values if not is_missing(value)]
    if not filled or not all(isinstance(value, str) and value.strip()[:1] == "[" for value in filled):
        return None
    lists = [None if is_missing(value) else parse_list(value) for value in values]
    return (
        lists if all(own is not None or is_missing(value) for own, value in zip(lists, values, strict=True)) else None
    )


def find_vector_width(values: Sequence[Any]) -> int | None:
    """The length of one-hot vectors: lists that are equally long and hold nothing but 0 and 1; None for other lists.

    `[0, 1]` might name the classes 0 and 1 as well, but not in every row.
    """
    lists = [value for value in values if isinstance(value, list)]
    widths = {len(value) for value in lists}
    if len(widths) != 1 or (width := widths.pop()) < 2:
        return None
    numbers = all(isinstance(item, bool | int | float) and item in (0, 1) for value in lists for item in value)
    repeated = any(len(set(value)) < len(value) for value in lists)
    return width if numbers and (repeated or width == 2) else None
