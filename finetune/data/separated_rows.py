"""CSV and its siblings, for every reader: which separator a file uses, and its rows with the lines that they begin at.

CSV cells may be quoted. Cells that tabs separate are taken as they stand, quotes included, whatever the file is called:
so GLUE, GoEmotions and most others write them, and reading their quotes as CSV silently joins rows.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from finetune.errors import DataError, Problem

DELIMITERS = (",", "\t", ";", "|")
LARGEST_CELL = (1 << 31) - 1  # the most that every platform's csv takes; a cell may hold a long document

Row = tuple[int, list[str]]  # its first line, counted from 1; its cells


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
