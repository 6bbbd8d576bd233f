"""JSON lines (one record a line), or one JSON list of records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from finetune.data.files import raise_problems, read_lines
from finetune.data.json_values import read_json_lines, read_json_list
from finetune.errors import Problem
from finetune.tagging.formats.annotations import unwrap_record
from finetune.tagging.formats.records import read_records
from finetune.tagging.formats.sentences import Sentences, TagColumns


def read_jsonl(path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a file of JSON records: word lists with tags, or text with spans.

    Raises:
        DataError: the file cannot be opened or decoded; every line that is no JSON record; and as `read_records`.
    """
    source = read_lines(path)
    read = read_json_lines if _is_one_value_a_line(source.lines) else read_json_list
    values, lines = read(source.lines, path)
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


def _unwrapped(values: list[Any], lines: list[int], path: Path) -> list[dict[str, Any]]:
    records = [unwrap_record(value) for value in values]
    problems = [
        Problem("this is no JSON object", 'one like {"words": [...], "tags": [...]} is allowed', path=path, line=line)
        for record, line in zip(records, lines, strict=True)
        if record is None
    ]
    raise_problems(problems, path)
    return [record for record in records if record is not None]
