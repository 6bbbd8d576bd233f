"""Texts in rows (JSON lines, CSV, Parquet, data sets) -> the same chunks of lines as files of raw text.

Each row is a document: its lines, then an empty line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from finetune.data.files import iterate_lines, listed
from finetune.data.json_values import parse_json
from finetune.data.parquet_files import open_parquet
from finetune.data.row_files import read_row_file
from finetune.data.text import CHUNK_BYTES, PACKED_SUFFIX, TextChunk, read_chunks
from finetune.errors import DataError, Problem
from finetune.run.atomic_files import atomic_text_file

JSON_LINES = (".jsonl", ".ndjson")
PARQUET = ".parquet"
ROW_SUFFIXES = (*JSON_LINES, ".json", ".csv", ".tsv", PARQUET)


def holds_rows(path: Path) -> bool:
    """Whether a file is one of rows, by its extension."""
    return path.name.removesuffix(PACKED_SUFFIX).endswith(ROW_SUFFIXES)


def read_text_chunks(paths: Sequence[Path], *, column: str = "text") -> Iterator[TextChunk]:
    """The text of all files, in order: raw text as it is, of rows the column `column`.

    Raises:
        DataError: as `read_chunks`; rows that are broken or lack the column.
    """
    for path in paths:
        yield from _chunks_of_texts(read_texts(path, column)) if holds_rows(path) else read_chunks([path])


def read_texts(path: Path, column: str) -> Iterator[str]:
    """The texts of a file of rows, one at a time.

    Raises:
        DataError: the file or a row of it is broken, or the column is missing.
    """
    name = path.name.removesuffix(PACKED_SUFFIX)
    if name.endswith(JSON_LINES):
        return _read_json_lines(path, column)
    return _read_parquet(path, column) if name.endswith(PARQUET) else _read_table(path, column)


def _read_json_lines(path: Path, column: str) -> Iterator[str]:
    for number, line in enumerate(iterate_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except json.JSONDecodeError as error:
            raise DataError(Problem(f"this is no JSON ({error.msg})", path=path, line=number)) from error
        if isinstance(row, str):
            yield row
        elif isinstance(row, dict) and column in row:
            yield _as_text(row[column], path, number)
        else:
            raise DataError(_missing_column(column, list(row) if isinstance(row, dict) else [], path, number))


def _as_text(value: object, path: Path, number: int) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(Problem(f"{value!r:.60} is no text", path=path, line=number))
    return value


def _read_parquet(path: Path, column: str) -> Iterator[str]:
    file = open_parquet(path)
    if column not in file.schema_arrow.names:
        raise DataError(_missing_column(column, file.schema_arrow.names, path))
    for batch in file.iter_batches(batch_size=1024, columns=[column]):
        yield from (text or "" for text in batch.column(0).to_pylist())


def _read_table(path: Path, column: str) -> Iterator[str]:
    table = read_row_file(path)
    if column not in table.columns:
        raise DataError(_missing_column(column, list(table.columns), path))
    for line, value in zip(table.lines, table.columns[column], strict=True):
        yield _as_text(value, path, line)


def _missing_column(column: str, columns: Sequence[str], path: Path, line: int | None = None) -> Problem:
    return Problem(f"there is no column {column!r}", f"the columns are {listed(columns)}", "name the one with the text by "
                   "--text_column_name", path, line)  # fmt: skip


def _chunks_of_texts(texts: Iterable[str]) -> Iterator[TextChunk]:
    parts: list[bytes] = []
    size, first = 0, True
    for text in texts:
        part = text.replace("\r\n", "\n").strip("\n").encode("utf-8", "replace") + b"\n\n"
        parts.append(part)
        size += len(part)
        if size >= CHUNK_BYTES:
            yield TextChunk(b"".join(parts), starts_file=first)
            parts, size, first = [], 0, False
    if parts:
        yield TextChunk(b"".join(parts), starts_file=first)


def save_texts(texts: Iterable[str], path: Path) -> Path:
    """Write texts as JSON lines, whole or not at all, unless the file is there already."""
    if path.is_file():
        return path
    with atomic_text_file(path) as stream:
        stream.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    return path
