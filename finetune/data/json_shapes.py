"""The records of a JSON file, however they are laid out: the one reader of JSON for texts and for tagged words.

Read are one record a line, one list of records, an object of columns (pandas' `to_json`: `{"text": {"0": ...}}`, or
lists), pandas' `{"columns": [...], "data": [[...]]}`, and an object that holds the records under one of its keys
(`{"data": [...]}`; `--field` names the key). Entries that are null are skipped and counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from finetune.data.files import TextLines, listed
from finetune.data.json_values import is_json, parse_json, read_json_lines, read_json_list
from finetune.errors import DataError, Problem

HOLDERS = ("data", "records", "rows", "annotations", "examples", "items", "documents", "sentences", "dataset", "train")
# Keys of a record itself: an object with one of them is a record, whatever lists it holds besides.
OF_RECORDS = ("text", "texts", "words", "tokens", "content", "sentence", "sentence1", "review", "body", "question")

IsRecord = Callable[[Any], bool]


@dataclass
class JsonRecords:
    """Records with the lines that they begin at (0: unknown)."""

    values: list[Any]
    lines: list[int]
    notes: list[str] = field(default_factory=list)


def is_object(value: Any) -> bool:
    return isinstance(value, dict)


def read_json_records(source: TextLines, *, key: str | None = None, is_record: IsRecord = is_object) -> JsonRecords:
    """The records of a file.

    Args:
        source: its lines.
        key: the one that holds the records of a file that is one object.
        is_record: what a record may be, where that is more than an object.

    Raises:
        DataError: where the file stops being JSON; no key of that name; one object that holds no records.
    """
    whole = _read_one_object(source) if key is None else _parse_object(source, required=True)
    if whole is not None:
        first = next(number for number, line in enumerate(source.lines, start=1) if line.strip())
        return _records_of_object(whole, key, source.path, is_record) or JsonRecords([whole], [first])
    read = read_json_list if _is_one_list(source.lines, is_record) else read_json_lines
    values, lines = read(source.lines, source.path)
    if not any(value is None for value in values):
        return JsonRecords(values, lines)
    kept = [(value, line) for value, line in zip(values, lines, strict=True) if value is not None]
    records = JsonRecords([value for value, _ in kept], [line for _, line in kept])
    return _with_skipped(records, len(values) - len(kept), source.path)


def _with_skipped(records: JsonRecords, skipped: int, path: Path) -> JsonRecords:
    if skipped:
        records.notes.append(f"{path}: {skipped:,} entries are null; they were skipped.")
    return records


def _is_one_list(lines: list[str], is_record: IsRecord) -> bool:
    """Whether the file is a list; a first line that is a record by itself (`["text", {...}]`) is none."""
    first = next((line for line in lines if line.strip()), "")
    if not first.lstrip().startswith("["):
        return False
    try:
        return not is_record(parse_json(first))
    except json.JSONDecodeError:
        return True


def _read_one_object(source: TextLines) -> dict[str, Any] | None:
    """The object that the whole file is; None where it is a list, or its first line is one of several values."""
    content = list(islice((line for line in source.lines if line.strip()), 2))
    if not content or not content[0].lstrip().startswith("{"):
        return None
    if len(content) > 1 and is_json(content[0]):
        return None
    return _parse_object(source, required=False)


def _parse_object(source: TextLines, *, required: bool) -> dict[str, Any] | None:
    try:
        value = parse_json("\n".join(source.lines))
    except json.JSONDecodeError as error:
        if not required:
            return None
        raise DataError(Problem(f"this is no JSON ({error.msg})", "", "", source.path, error.lineno)) from error
    if isinstance(value, dict):
        return value
    if required:
        found = f"--field names a key, but the file holds {'a list' if isinstance(value, list) else 'no object'}"
        raise DataError(Problem(found, remedy="leave --field out", path=source.path))
    return None


def _records_of_object(whole: dict[str, Any], key: str | None, path: Path, is_record: IsRecord) -> JsonRecords | None:
    """The records that one object holds; None where it is one record itself."""
    if key is not None:
        return _under_key(whole, key, path, is_record)
    if isinstance(whole.get("columns"), list) and isinstance(whole.get("data"), list):
        return _split_table(whole["columns"], whole["data"], path)
    columns = _as_columns(whole)
    if columns is not None:
        note = f"{path}: the file is one object of columns; its {len(columns):,} rows are read."
        return JsonRecords(columns, [0] * len(columns), [note])
    is_task = isinstance(whole.get("data"), dict) and ("annotations" in whole or "predictions" in whole)
    if is_task or any(isinstance(whole.get(name), str) or _are_texts(whole.get(name)) for name in OF_RECORDS):
        return None
    holders = [name for name, value in whole.items() if _holds_records(value, is_record)]
    named = [name for name in HOLDERS if name in holders]
    if named or len(holders) == 1:
        return _under_key(whole, (named or holders)[0], path, is_record)
    if len(holders) > 1:
        found = f"the file is one object with several lists of records: {listed(holders)}"
        raise DataError(Problem(found, remedy="choose one with --field", path=path))
    return None


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def _holds_records(value: Any, is_record: IsRecord) -> bool:
    if not isinstance(value, list):
        return False
    items = [item for item in value if item is not None]
    return bool(items) and all(map(is_record, items))


def _under_key(whole: dict[str, Any], key: str, path: Path, is_record: IsRecord) -> JsonRecords:
    value: Any = whole
    for part in [key] if key in whole else key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, dict) and (columns := _as_columns(value)) is not None:
        value = columns
    if not _holds_records(value, is_record):
        there = f"its keys are {listed(list(whole))}"
        raise DataError(Problem(f"{key!r} holds no list of records", there, "choose one with --field", path))
    items = [item for item in value if item is not None]
    records = JsonRecords(items, [0] * len(items), [f"{path}: the records under {key!r} are read."])
    return _with_skipped(records, len(value) - len(items), path)


def _split_table(names: list[Any], rows: list[Any], path: Path) -> JsonRecords:
    wrong = [index for index, row in enumerate(rows) if not isinstance(row, list) or len(row) != len(names)]
    if wrong:
        found = f"row {wrong[0] + 1:,} of 'data' has not the {len(names)} columns that 'columns' names"
        raise DataError(Problem(found, f"they are {listed([str(name) for name in names])}", path=path))
    records = [{str(name): cell for name, cell in zip(names, row, strict=True)} for row in rows]
    return JsonRecords(records, [0] * len(records), [f"{path}: the file is a table of pandas (orient='split')."])


def _as_columns(whole: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of an object of columns: every value an object with the same keys, or a list of the same length.

    Lists of plain values side by side may be the words and tags of one sentence: they are columns only where one of them
    holds texts of several words, or lists.
    """
    values = list(whole.values())
    if len(values) < 2:
        return None
    if all(isinstance(value, dict) and value and value.keys() == values[0].keys() for value in values):
        return [{name: column[row] for name, column in whole.items()} for row in values[0]]
    if not all(isinstance(value, list) and value and len(value) == len(values[0]) for value in values):
        return None
    if not any(_spans_rows(value) for value in values):
        return None
    return [dict(zip(whole, row, strict=True)) for row in zip(*values, strict=True)]


def _spans_rows(column: list[Any]) -> bool:
    lists = all(isinstance(item, list) for item in column)
    return lists or any(isinstance(item, str) and " " in item.strip() for item in column)
