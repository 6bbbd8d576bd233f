"""Files of rows (JSON lines or a JSON list, CSV, TSV, Parquet; plain or gzipped) -> columns, whatever they are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.data.files import listed, raise_problems, read_lines
from finetune.data.json_values import read_json_lines, read_json_list
from finetune.data.parquet_files import read_parquet_table
from finetune.data.separated_rows import read_separated_rows, sniff_delimiter
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

    def __len__(self) -> int:
        return len(self.lines)


def read_row_file(path: Path, *, column_names: Sequence[str] = (), delimiter: str | None = None) -> RowTable:
    """The rows of a file, read as its extension says.

    Args:
        path: `.jsonl`, `.json`, `.ndjson`, `.csv`, `.tsv`, `.parquet`; the text formats also with `.gz`.
        column_names: for CSV and TSV without a header: what their columns are.
        delimiter: for CSV; otherwise it is taken from the first line.

    Raises:
        DataError: the extension is unknown, the file cannot be read, or rows of it are broken (each with its line).
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path)
    if suffix in (".jsonl", ".json", ".ndjson"):
        return _read_json(path)
    if suffix not in (".csv", ".tsv"):
        allowed = ".jsonl, .json, .csv, .tsv and .parquet are read, the text formats also as .gz"
        raise DataError(Problem(f"the extension {suffix or '(none)'} is not known", allowed, path=path))
    return _read_separated(path, column_names, "\t" if suffix == ".tsv" else delimiter)


def _read_separated(path: Path, column_names: Sequence[str], delimiter: str | None) -> RowTable:
    source = read_lines(path)
    used = delimiter or sniff_delimiter(source.lines)
    rows = list(read_separated_rows(source.lines, used, path))
    header, rows = (list(column_names), rows) if column_names else (rows[0][1], rows[1:])
    problems = _header_problems(header, path) + _width_problems(rows, header, path, bool(column_names))
    raise_problems(problems, path)
    if not rows:
        raise DataError(Problem("the file holds a header and no rows", path=path))
    columns = {name: [cells[index] for _, cells in rows] for index, name in enumerate(header)}
    return RowTable(columns, [line for line, _ in rows], path, are_texts=True, notes=source.notes)


def _header_problems(header: list[str], path: Path) -> list[Problem]:
    double = sorted({name for name in header if header.count(name) > 1})
    return [Problem(f"the columns {listed(double)} occur twice", path=path, line=1)] if double else []


def _width_problems(rows: list[tuple[int, list[str]]], header: list[str], path: Path, named: bool) -> list[Problem]:
    wanted = f"{len(header)} are {'named with --column_names' if named else 'in the first line'}"
    problems = [
        Problem(f"the row has {len(cells)} columns", f"{wanted}: {listed(header)}", "", path, line)
        for line, cells in rows
        if len(cells) != len(header)
    ]
    return problems


def _read_json(path: Path) -> RowTable:
    source = read_lines(path)
    table = parse_json_rows(source.lines, path)
    table.notes += source.notes
    return table


def parse_json_rows(texts: list[str], path: Path) -> RowTable:
    """The rows of JSON lines, or of the lines of one JSON list.

    Raises:
        DataError: every line that is no JSON object; no rows.
    """
    is_list = bool(texts) and texts[0].lstrip().startswith("[")
    records, lines = (read_json_list if is_list else read_json_lines)(texts, path)
    problems = [
        Problem("this is no JSON object", 'one like {"text": ..., "label": ...} is allowed', "", path, line)
        for record, line in zip(records, lines, strict=True)
        if not isinstance(record, dict)
    ]
    raise_problems(problems, path)
    if not records:
        raise DataError(Problem("the file holds no rows", path=path))
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: [record.get(name) for record in records] for name in names}
    return RowTable(columns, lines, path)


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
    )


def rows_of_dataset(rows: Any) -> RowTable:
    """The columns of a data set of the hub (`datasets.Dataset`), with the label names that it declares."""
    return RowTable(rows.to_dict(), [0] * len(rows), None, declared_names(rows.features))


def declared_names(features: Any) -> dict[str, list[str]]:
    """Names of class ids by column, for columns of one id and of lists of them."""
    inner: Callable[[Any], Any] = lambda feature: getattr(feature, "feature", feature)  # noqa: E731
    return {name: inner(kind).names for name, kind in features.items() if hasattr(inner(kind), "names")}
