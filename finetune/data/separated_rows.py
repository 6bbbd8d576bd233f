"""CSV and its siblings, for every reader: which separator a file uses, and its rows with the lines that they begin at.

CSV cells may be quoted. Cells that tabs separate are taken as they stand, quotes included, whatever the file is called:
so GLUE, GoEmotions and most others write them, and reading their quotes as CSV silently joins rows. Only where every
quote of a file is one that pandas or a spreadsheet wrote (around a cell, doubled inside) are they read as CSV's.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from finetune.data.files import TextLines, listed, raise_problems
from finetune.errors import DataError, Problem

DELIMITERS = (",", "\t", ";", "|")
LARGEST_CELL = (1 << 31) - 1  # the most that every platform's csv takes; a cell may hold a long document

SEPARATOR_LINE = re.compile(r"\ufeff?\"?sep=(.)\"?[,;\t|]*", re.IGNORECASE)  # what Excel reads and writes on top
QUOTED_TABLE = re.compile(r'(?:(?:"(?:[^"]|"")*+"|[^"\t\n]*+)(?:[\t\n]|\Z))*+')

Row = tuple[int, list[str]]  # its first line, counted from 1; its cells


@dataclass
class SeparatedTable:
    """A file of rows with a header: names without white space around them, rows as wide as the header.

    `lines` are those of the file; `empty_lines` the numbers of those that hold nothing but separators, which are no rows.
    """

    header: list[str]
    rows: list[Row]
    lines: Sequence[str] = ()
    empty_lines: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def find_breaks(self) -> list[int]:
        """The places (indices into `rows`) before which the file has an empty line, or one of separators only."""
        before = [(place, line - 1) for place, (line, _) in enumerate(self.rows) if line > 1]
        return [place for place, line in before if line in self.empty_lines or not self.lines[line - 1].strip()]


def split_cells(row: str, delimiter: str) -> list[str]:
    """The cells of one row, which may go over several lines; those that tabs separate are taken as they stand."""
    if delimiter == "\t":
        return row.rstrip("\r\n").split("\t")
    return next(csv.reader(row.splitlines(keepends=True), delimiter=delimiter), [])


def read_separated_table(
    source: TextLines, *, column_names: Sequence[str] = (), delimiter: str | None = None
) -> SeparatedTable:
    """The rows of a file and what its columns are called.

    A first line `sep=;` names the separator. Nameless columns that are empty throughout are left out, as are rows of
    nothing but separators; both are noted.

    Args:
        source: the lines of the file.
        column_names: what the columns are called where the file has no header.
        delimiter: what separates cells; without it the line on top says it, else what the first line uses most.

    Raises:
        DataError: names that occur twice; every row that is wider or narrower than the header; bad quotes.
    """
    lines, used, notes = _settle_delimiter(source, delimiter)
    rows = list(read_separated_rows(lines, used, source.path))
    if used == "\t" and _are_quoted_cells(lines):
        rows = list(_quoted_rows(lines, used, source.path, strict=True))
        notes.append(f"{source.path}: its cells are quoted as in CSV, and are read so.")
    if not rows:
        raise DataError(Problem("the file holds no rows", path=source.path))
    named = [name.strip() for name in column_names]
    header = named or [name.strip() for name in rows[0][1]]
    table = SeparatedTable(header, rows if named else rows[1:], lines, notes=notes)
    _drop_empty_rows(table, source.path)
    _drop_nameless_columns(table, source.path)
    raise_problems(
        _check_header(table, source, bool(named)) + _check_widths(table, source.path, bool(named)), source.path
    )
    return table


def _settle_delimiter(source: TextLines, typed: str | None) -> tuple[list[str], str, list[str]]:
    """The lines without one like `sep=;` (emptied, so that places stay right), the separator, and a note of it."""
    match = SEPARATOR_LINE.fullmatch(source.lines[0])
    if match is None:
        return source.lines, typed or sniff_delimiter(source.lines), []
    note = (
        f"{source.path}: its first line {source.lines[0]!r} names the separator of spreadsheet programs and is no row."
    )
    return ["", *source.lines[1:]], typed or match[1], [note]


def _are_quoted_cells(lines: Sequence[str]) -> bool:
    """Whether every quote between tabs stands around a cell or is doubled inside one, and some must: they hold quotes."""
    if not any('""' in line for line in lines):
        return False
    if QUOTED_TABLE.fullmatch("\n".join(lines)) is None:
        return False
    cells = chain.from_iterable(csv.reader((line + "\n" for line in lines), delimiter="\t"))
    return any('"' in cell for cell in cells)


def _drop_empty_rows(table: SeparatedTable, path: Path) -> None:
    empty = [
        place for place, (_, cells) in enumerate(table.rows) if not cells[0].strip() and not "".join(cells).strip()
    ]
    if not empty:
        return
    table.empty_lines = {table.rows[place][0] for place in empty}
    dropped = set(empty)
    table.rows = [row for place, row in enumerate(table.rows) if place not in dropped]
    table.notes.append(f"{path}: {len(empty):,} rows hold nothing but separators; they are no rows.")


def _drop_nameless_columns(table: SeparatedTable, path: Path) -> None:
    width = len(table.header)
    nameless = {index for index, name in enumerate(table.header) if not name}
    used = {index for _, cells in table.rows for index in nameless if index < len(cells) and cells[index].strip()}
    dropped = nameless - used
    if not dropped or width - len(dropped) < 1:
        return
    keep = [index for index in range(width) if index not in dropped]
    table.header = [table.header[index] for index in keep]
    table.rows = [
        (line, [cells[index] for index in keep] if len(cells) == width else cells) for line, cells in table.rows
    ]
    table.notes.append(f"{path}: {len(dropped):,} columns without a name and without content were left out.")


def _check_header(table: SeparatedTable, source: TextLines, named: bool) -> list[Problem]:
    first = table.header
    double = sorted({name for name in first if name and first.count(name) > 1})
    problems = [Problem(f"the columns {listed(double)} occur twice", path=source.path, line=1)] if double else []
    nameless = [index for index, name in enumerate(first) if not name]
    if len(nameless) > 1:
        found = f"{len(nameless)} columns without a name hold something"
        problems.append(Problem(found, remedy="name them in the first line", path=source.path, line=1))
    if not table.rows and not problems:
        problems.append(Problem("the file holds a header and no rows", path=source.path))
    return [] if named and not table.rows else problems


def _check_widths(table: SeparatedTable, path: Path, named: bool) -> list[Problem]:
    width = len(table.header)
    wanted = f"{width} are {'named with --column_names' if named else 'in the first line'}: {listed(table.header)}"
    wrong = [(line, cells) for line, cells in table.rows if len(cells) != width]
    quoted = any(cells and cells[-1].startswith('"') and not cells[-1].endswith('"') for _, cells in wrong)
    remedy = "cells of TSV are not quoted and hold no line end: save the file as .csv" if quoted else ""
    return [Problem(f"the row has {len(cells)} columns", wanted, remedy, path, line) for line, cells in wrong]


def sniff_delimiter(lines: Iterable[str]) -> str:
    """The separator that the first line which is not empty uses most outside quotes; a comma where there is none."""
    line = next((line for line in lines if line.strip()), "")
    bare = "".join(line.split('"')[::2])
    return max(DELIMITERS, key=bare.count)


def read_separated_rows(lines: Iterable[str], delimiter: str, path: Path, *, strict: bool = True) -> Iterator[Row]:
    """The rows of a file without its empty lines; a cell in quotes may hold line ends.

    Args:
        lines: without their line ends.
        delimiter: one character; a tab means that quotes are plain characters.
        path: for messages.
        strict: whether a quote that is opened and never closed, or that letters follow, is an error.

    Raises:
        DataError: the delimiter is not one character; a row is not well quoted (with its line).
    """
    if len(delimiter) != 1:
        raise DataError(Problem(f"{delimiter!r} is no delimiter", "one character is allowed", "", path))
    if delimiter == "\t":
        return ((number, line.split("\t")) for number, line in enumerate(lines, start=1) if line.strip())
    return _quoted_rows(lines, delimiter, path, strict)


def _quoted_rows(lines: Iterable[str], delimiter: str, path: Path, strict: bool) -> Iterator[Row]:
    csv.field_size_limit(LARGEST_CELL)
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=strict)
    start = 1
    try:
        for cells in reader:
            if cells:
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        unclosed = "unexpected end" in str(error)
        found = "a quoted cell is opened in this row and never closed" if unclosed else f"the row is no CSV ({error})"
        remedy = 'write a quote inside a quoted cell twice (""), or save the file as .tsv'
        raise DataError(Problem(found, "", remedy, path, start)) from error
