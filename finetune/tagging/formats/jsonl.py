"""JSON in any layout of `finetune.data.json_shapes`: word lists with tags, or texts with spans."""

from __future__ import annotations

from pathlib import Path

from finetune.data.annotation_exports import UNANNOTATED, find_skip_reason, is_export
from finetune.data.files import raise_problems, read_lines
from finetune.data.json_shapes import JsonRecords, read_json_records
from finetune.errors import DataError, Problem
from finetune.tagging.formats.annotations import unwrap_record
from finetune.tagging.formats.records import Record, read_records
from finetune.tagging.formats.sentences import Sentences, TagColumns


def read_jsonl(path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a file of JSON records: word lists with tags, or text with spans.

    Raises:
        DataError: the file cannot be opened or decoded; every line that is no JSON record; tasks that nobody annotated
            where tags are needed; and as `read_records`.
    """
    source = read_lines(path)
    read = read_json_records(source, key=columns.json_key, is_record=is_export)
    records = _unwrapped(read, path)
    _require_annotations(records, columns, path)
    sentences = read_records(records, read.lines, path, columns)
    sentences.notes = source.notes + read.notes + sentences.notes
    return sentences


def _unwrapped(read: JsonRecords, path: Path) -> list[Record]:
    records = [unwrap_record(value) for value in read.values]
    allowed = 'one like {"words": [...], "tags": [...]} is allowed'
    problems = [
        Problem("this is no JSON object", allowed, path=path, line=line or None)
        for record, line in zip(records, read.lines, strict=True)
        if record is None
    ]
    raise_problems(problems, path)
    return [record for record in records if record is not None]


def _require_annotations(records: list[Record], columns: TagColumns, path: Path) -> None:
    if columns.required and records and all(find_skip_reason(record) == UNANNOTATED for record in records):
        found = "nobody annotated any task of this file (predictions of a model are no annotation)"
        raise DataError(Problem(found, remedy="export tasks with annotations", path=path))
