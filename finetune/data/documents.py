"""Files of text -> documents as they stand, every character of them: what is tokenized whole.

A row of a file of rows is a document, whatever it holds. Documents of raw text come in parts of bounded size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

from finetune.data.text import TextChunk, explain_unreadable, read_chunks
from finetune.data.text_rows import holds_rows, read_texts


class Boundary(StrEnum):
    """What ends a document. The end of a file always does."""

    BLANK_LINE = "blank_line"
    LINE = "line"
    FILE = "file"


# Behind each match a document begins. Empty lines belong to the document before them.
BORDERS = {
    Boundary.BLANK_LINE: re.compile(r"^[^\S\n]*\n(?=[^\S\n]*\S)", re.MULTILINE),
    Boundary.LINE: re.compile(r"\n(?=[^\S\n]*\S)"),
    Boundary.FILE: re.compile(r"(?!)"),
}
LINE_WITH_TEXT = "x\n"


@dataclass(frozen=True)
class DocumentPart:
    """Text of a document, its first or what goes on behind the part before."""

    text: str
    begins: bool


def read_documents(paths: Sequence[Path], *, boundary: Boundary, column: str = "text") -> Iterator[DocumentPart]:
    """The documents of all files, in order; joined, their parts are the text of the files.

    Lines end in "\\n", whether the file says "\\r\\n" or not; rows are as they are.

    Raises:
        DataError: as `read_chunks` and `read_texts`; text that is not UTF-8.
    """
    for path in paths:
        if holds_rows(path):
            for text in read_texts(path, column):
                yield from _cut(text, boundary if boundary is Boundary.LINE else Boundary.FILE, "", begins=True)
        else:
            yield from _read_raw(path, boundary)


def _read_raw(path: Path, boundary: Boundary) -> Iterator[DocumentPart]:
    before = ""
    for chunk in read_chunks([path], lines_matter=boundary is not Boundary.FILE):
        text = _decode(chunk, path)
        yield from _cut(text, boundary, before, begins=chunk.starts_file)
        before = _last_line(text)


def _decode(chunk: TextChunk, path: Path) -> str:
    try:
        return chunk.text()
    except UnicodeDecodeError as error:
        explain_unreadable([path])
        raise error


def _cut(text: str, boundary: Boundary, before: str, *, begins: bool) -> Iterator[DocumentPart]:
    """The text at its borders; `before` is the line in front of it, if there is one."""
    found = [match.end() - len(before) for match in BORDERS[boundary].finditer(before + text)]
    begins = begins or 0 in found
    for start, end in pairwise([0, *(place for place in found if place > 0), len(text)]):
        yield DocumentPart(text[start:end], begins or start > 0)


def _last_line(text: str) -> str:
    """What of the last line tells where documents begin: whether it has text, and whether it has ended."""
    line = text[text.rfind("\n", 0, -1) + 1 :]
    if not line.strip():
        return line
    return LINE_WITH_TEXT if line.endswith("\n") else LINE_WITH_TEXT.strip()
