"""Files of rows (JSON lines or a JSON list, CSV, TSV, Parquet; plain or gzipped) -> columns, whatever they are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.data.annotation_exports import flatten_annotations, flatten_record, is_export
from finetune.data.fasttext import is_fasttext, read_fasttext
from finetune.data.files import TextLines, raise_problems, read_lines
from finetune.data.json_shapes import read_json_records
from finetune.data.parquet_files import read_parquet_table
from finetune.data.separated_rows import read_separated_table
from finetune.data.tagged_lines import TAGGED_SUFFIXES, are_tagged_lines
from finetune.errors import DataError, Problem


@dataclass
class RowTable:
    """Columns of equal length.

    `lines` are the places of the rows in their file (0: unknown). `label_names` are the names that a column of class
    ids declares. `are_texts` is True where every cell is a text (CSV, TSV), so that numbers must be read from it.
    """

    columns: dict[str, list[Any]]
    lines: list[int]
    path: Path | None = None
    label_names: dict[str, list[str]] = field(default_factory=dict)
    are_texts: bool = False
    notes: list[str] = field(default_factory=list)
    origins: list[tuple[Path | None, int]] | None = None  # of rows of several files: file and line of each

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, row: int) -> dict[str, Any]:
        """`path` and `line` of a row, as a `Problem` takes them."""
        path, line = self.origins[row] if self.origins else (self.path, self.lines[row])
        return {"path": path, "line": line or None}


def read_row_file(
    path: Path, *, column_names: Sequence[str] = (), delimiter: str | None = None, key: str | None = None
) -> RowTable:
    """The rows of a file, read as its extension says; fastText's `__label__` lines whatever it is called.

    Args:
        path: `.jsonl`, `.json`, `.ndjson`, `.csv`, `.tsv`, `.parquet`; the text formats also with `.gz`.
        column_names: for CSV and TSV without a header: what their columns are.
        delimiter: for CSV; otherwise it is taken from the first line.
        key: for JSON that is one object: which of its keys holds the rows.

    Raises:
        DataError: the extension is unknown, the file cannot be read, or rows of it are broken (each with its line).
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path)
    if suffix in (".jsonl", ".json", ".ndjson"):
        return _read_json(path, key)
    source = read_lines(path)
    if not column_names and is_fasttext(source.lines):
        columns, lines = read_fasttext(source)
        note = f"{path}: fastText; labels are the words that begin with __label__."
        return RowTable(columns, lines, path, notes=[*source.notes, note])
    if suffix not in (".csv", ".tsv"):
        raise DataError(_unknown_kind(source, suffix))
    return _read_separated(source, column_names, "\t" if suffix == ".tsv" else delimiter)


def _unknown_kind(source: TextLines, suffix: str) -> Problem:
    """What a file is instead, where its first lines tell."""
    allowed = ".jsonl, .json, .csv, .tsv and .parquet are read, the text formats also as .gz, and fastText's lines"
    found, remedy = f"the extension {suffix or '(none)'} is not known", ""
    if suffix in TAGGED_SUFFIXES or are_tagged_lines(source.lines):
        found, remedy = "this file looks like tagged words, one a line", "run_ner.py learns to tag words"
    elif suffix == ".txt":
        remedy = "texts with labels come as columns: rename it to .tsv if tabs separate them, to .csv if commas do"
    return Problem(found, allowed, remedy, source.path)


def _read_separated(source: TextLines, column_names: Sequence[str], delimiter: str | None) -> RowTable:
    table = read_separated_table(source, column_names=column_names, delimiter=delimiter)
    columns = {name: [cells[index] for _, cells in table.rows] for index, name in enumerate(table.header)}
    lines = [line for line, _ in table.rows]
    return RowTable(columns, lines, source.path, are_texts=True, notes=source.notes + table.notes)


def _read_json(path: Path, key: str | None) -> RowTable:
    source = read_lines(path)
    table = parse_json_rows(source.lines, path, key=key)
    table.notes = source.notes + table.notes
    return table


def parse_json_rows(texts: list[str], path: Path, *, key: str | None = None) -> RowTable:
    """The rows of JSON in any layout of `finetune.data.json_shapes`; exports of annotation tools come out flat.

    Raises:
        DataError: every line that is no JSON object; no rows.
    """
    records = read_json_records(TextLines(path, texts), key=key, is_record=is_export)
    problems = [
        Problem("this is no JSON object", 'one like {"text": ..., "label": ...} is allowed', "", path, line or None)
        for record, line in zip(records.values, records.lines, strict=True)
        if flatten_record(record) is None
    ]
    raise_problems(problems, path)
    flat = flatten_annotations(records, path)
    if not flat.values:
        raise DataError(Problem("the file holds no rows", path=path))
    names = dict.fromkeys(name for record in flat.values for name in record)
    columns = {name: [record.get(name) for record in flat.values] for name in names}
    return RowTable(columns, flat.lines, path, notes=flat.notes)


def _read_parquet(path: Path) -> RowTable:
    from datasets import Features

    table = read_parquet_table(path)
    return RowTable(table.to_pydict(), [0] * len(table), path, declared_names(Features.from_arrow_schema(table.schema)))


def merge_tables(tables: Sequence[RowTable]) -> RowTable:
    """The rows of several files of one split, one file after the other; a column that a file lacks holds None there."""
    if len(tables) == 1:
        return tables[0]
    names = dict.fromkeys(name for table in tables for name in table.columns)
    columns = {
        name: [value for table in tables for value in table.columns.get(name, [None] * len(table))] for name in names
    }
    return RowTable(
        columns,
        [0 for table in tables for _ in table.lines],  # a line says nothing where the file is not known
        label_names={name: values for table in tables for name, values in table.label_names.items()},
        are_texts=all(table.are_texts for table in tables),
        notes=[note for table in tables for note in table.notes],
        origins=[(table.path, line) for table in tables for line in table.lines],
    )


def rows_of_dataset(rows: Any) -> RowTable:
    """The columns of a data set of the hub (`datasets.Dataset`), with the label names that it declares."""
    return RowTable(rows.to_dict(), [0] * len(rows), None, declared_names(rows.features))


def declared_names(features: Any) -> dict[str, list[str]]:
    """Names of class ids by column, for columns of one id and of lists of them."""
    inner: Callable[[Any], Any] = lambda feature: getattr(feature, "feature", feature)  # noqa: E731
    return {name: inner(kind).names for name, kind in features.items() if hasattr(inner(kind), "names")}
