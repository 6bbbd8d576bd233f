"""JSON of users: parsed in one place, and the values of a file, one a line or in one list, each with its line."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from finetune.data.files import raise_problems
from finetune.errors import DataError, Problem

HALF_CHARACTER = re.compile(r"\\u[dD][89abAB]")  # the first part of a surrogate pair, which may lack its second
WHITE_SPACE = re.compile(r"[ \t\n\r]*")  # as JSON has it (RFC 8259, section 2)


def parse_json(text: str) -> Any:
    """`json.loads`, but whatever is wrong with a text is a `JSONDecodeError`.

    That are nesting without end, numbers of thousands of digits, and half characters (`"\\ud800"`), which no file can hold.
    """
    try:
        value = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise _as_json_error(error, text) from error
    _refuse_half_characters(text, value)
    return value


def parse_python(text: str) -> Any:
    """A Python literal, as old files have them in the place of JSON; never evaluated.

    Raises:
        ValueError: it is none, whatever `ast.literal_eval` says of it, or holds half a character.
    """
    try:
        value = ast.literal_eval(text)
        _refuse_half_characters(text, value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError("this is no Python literal") from error
    return value


def _as_json_error(error: Exception, text: str) -> json.JSONDecodeError:
    if isinstance(error, json.JSONDecodeError):
        return error
    found = "nested too deeply" if isinstance(error, RecursionError) else "a number of too many digits"
    return json.JSONDecodeError(found, text, 0)


def _refuse_half_characters(text: str, value: Any) -> None:
    suspect = HALF_CHARACTER.search(text)
    if suspect is None:
        return
    try:
        json.dumps(value, ensure_ascii=False, default=repr).encode("utf-8")
    except UnicodeEncodeError as error:
        raise json.JSONDecodeError("half a character (a lone surrogate)", text, suspect.start()) from error


def is_json(text: str) -> bool:
    """Whether a text is one value of JSON."""
    try:
        parse_json(text)
    except json.JSONDecodeError:
        return False
    return True


def read_json_lines(lines: Sequence[str], path: Path) -> tuple[list[Any], list[int]]:
    """One value a line, and its line (from 1); empty lines are skipped.

    Raises:
        DataError: every line that is no JSON.
    """
    values, places, problems = [], [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values.append(parse_json(line))
            places.append(number)
        except json.JSONDecodeError as error:
            found = f"the line is no JSON ({error.msg} at character {error.pos + 1})"
            problems.append(Problem(found, "one JSON object a line is allowed", path=path, line=number))
    raise_problems(problems, path)
    return values, places


def read_json_list(lines: Sequence[str], path: Path) -> tuple[list[Any], list[int]]:
    """The items of one JSON list, and the lines (from 1) that they begin at.

    Raises:
        DataError: where the list stops being JSON.
    """
    text = "\n".join(lines)
    values, places = [], []
    line, counted = 1, 0
    try:
        for value, start in _list_items(text):
            line, counted = line + text.count("\n", counted, start), start
            values.append(value)
            places.append(line)
    except json.JSONDecodeError as error:
        raise DataError(Problem(f"this is no JSON ({error.msg})", path=path, line=error.lineno)) from error
    return values, places


def _list_items(text: str) -> Iterator[tuple[Any, int]]:
    """Each item of the list that a text is, and where it begins."""
    decoder = json.JSONDecoder()
    place = _after_space(text, text.index("[") + 1)
    follows = text[place : place + 1]
    while follows != "]":
        try:
            value, end = decoder.raw_decode(text, place)
        except (RecursionError, ValueError) as error:
            raise _as_json_error(error, text) from error
        _refuse_half_characters(text[place:end], value)
        yield value, place
        place = _after_space(text, end)
        follows = text[place : place + 1]
        if follows == ",":
            place = _after_space(text, place + 1)
        elif follows != "]":
            raise json.JSONDecodeError("Expecting ',' or ']'", text, place)
    end = _after_space(text, place + 1)
    if end < len(text):
        raise json.JSONDecodeError("Extra data after the list", text, end)


def _after_space(text: str, place: int) -> int:
    return WHITE_SPACE.match(text, place).end()  # type: ignore[union-attr]  # it matches the empty string too


def is_of_type(value: Any, kind: Any) -> bool:
    """Whether a value of JSON is of a type as annotations write it; a list stands for a tuple, a whole number for any."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin is UnionType:
        return any(is_of_type(value, item) for item in inner)
    if origin is dict:
        return isinstance(value, dict) and all(is_of_type(item, inner[1]) for item in value.values())
    if origin in (list, tuple):
        return isinstance(value, list) and all(is_of_type(item, inner[0]) for item in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return type(value) is kind
