"""JSON lines (one record a line), or one JSON list of records."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from finetune.data.annotations import unwrap_record
from finetune.data.files import read_lines
from finetune.data.records import read_records
from finetune.data.sentences import Sentences, TagColumns, raise_problems
from finetune.errors import DataError, Problem

WHITE_SPACE = re.compile(r"[ \t\n\r]*")


def read_jsonl(path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a file of JSON records: word lists with tags, or text with spans.

    Raises:
        DataError: the file cannot be opened or decoded; every line that is no JSON record; and as `read_records`.
    """
    source = read_lines(path)
    text = "\n".join(source.lines)
    read = _read_values if _is_one_value_a_line(source.lines) else _read_list
    values, lines = read(text, path)
    records = _unwrapped(values, lines, path)
    sentences = read_records(records, lines, path, columns)
    sentences.notes = source.notes + sentences.notes
    return sentences


def _is_one_value_a_line(lines: list[str]) -> bool:
    """Whether the first line is a record of its own (a spaCy pair `[text, {...}]` is one), or the start of a list."""
    if not lines[0].lstrip().startswith("["):
        return True
    try:
        return unwrap_record(json.loads(lines[0])) is not None
    except json.JSONDecodeError:
        return False


def _read_list(text: str, path: Path) -> tuple[list[Any], list[int]]:
    """The items of one JSON list, and the lines that they begin at."""
    decoder = json.JSONDecoder()
    values, lines = [], []
    position = text.index("[") + 1
    try:
        while text[position : position + 1] != "]":
            start = WHITE_SPACE.match(text, position).end()  # type: ignore[union-attr]
            value, end = decoder.raw_decode(text, start)
            values.append(value)
            lines.append(text.count("\n", 0, start) + 1)
            position = _after_item(text, end)
    except json.JSONDecodeError as error:
        raise DataError(Problem(f"this is no JSON ({error.msg})", path=path, line=error.lineno)) from error
    return values, lines


def _after_item(text: str, end: int) -> int:
    """The place after an item and its comma, or that of the closing bracket."""
    place = WHITE_SPACE.match(text, end).end()  # type: ignore[union-attr]
    if text[place : place + 1] == ",":
        return place + 1
    if text[place : place + 1] == "]":
        return place
    raise json.JSONDecodeError("expecting ',' or ']'", text, place)


def _read_values(text: str, path: Path) -> tuple[list[Any], list[int]]:
    values, places, problems = [], [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values.append(json.loads(line))
            places.append(number)
        except json.JSONDecodeError as error:
            found = f"the line is no JSON ({error.msg} at character {error.pos + 1})"
            problems.append(Problem(found, "one JSON object a line is allowed", path=path, line=number))
    raise_problems(problems, path)
    return values, places


def _unwrapped(values: list[Any], lines: list[int], path: Path) -> list[dict[str, Any]]:
    records = [unwrap_record(value) for value in values]
    problems = [
        Problem("this is no JSON object", 'one like {"words": [...], "tags": [...]} is allowed', path=path, line=line)
        for record, line in zip(records, lines, strict=True)
        if record is None
    ]
    raise_problems(problems, path)
    return [record for record in records if record is not None]
