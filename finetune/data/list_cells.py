"""Lists in the cells of a table: JSON, or what Python and pandas print."""

from __future__ import annotations

import json
import re
from typing import Any

from finetune.data.json_values import parse_json, parse_python

LIST_ITEM = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?"""
NUMPY_ITEM = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?\d+\.?\d*|True|False"""
NUMPY_LIST = re.compile(rf"\[\s*(?:{NUMPY_ITEM})(?:\s+(?:{NUMPY_ITEM}))+\s*\]")
PYTHON_LIST = re.compile(rf"\[\s*(?:(?:{LIST_ITEM})\s*(?:,\s*(?:{LIST_ITEM})\s*)*,?\s*)?\]")


def is_list_cell(cell: str) -> bool:
    """Whether a cell looks like a list."""
    return _unquoted(cell).startswith("[") and _unquoted(cell).endswith("]")


def parse_list(cell: str) -> list[Any] | None:
    """A cell as a list: JSON, or what Python, pandas and numpy print; None where it is none of these.

    numpy prints `['a' 'b']`, without commas, which Python would read as the one word `ab`: its items are read one by one.
    """
    cell = _unquoted(cell)
    try:
        value = parse_json(cell)
    except json.JSONDecodeError:
        value = _parse_python_list(cell)
    return value if isinstance(value, list) else None


def _parse_python_list(cell: str) -> Any:
    try:
        if NUMPY_LIST.fullmatch(cell):
            return [parse_python(item) for item in re.findall(NUMPY_ITEM, cell)]
        return parse_python(cell) if PYTHON_LIST.fullmatch(cell) else None
    except ValueError:
        return None


def _unquoted(cell: str) -> str:
    """The list in a cell of a TSV file that was written with quotes all the same."""
    cell = cell.strip()
    if cell.startswith('"[') and cell.endswith(']"'):
        return cell[1:-1].replace('""', '"')
    return cell
