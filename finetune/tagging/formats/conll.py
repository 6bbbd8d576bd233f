"""CoNLL files: one word a line with its tags in columns, sentences apart by blank lines.

Read as they are published: columns apart by one tab (then words may hold spaces, or be one) or by spaces; sentence
breaks that are empty, or only a tab (WNUT17); `-DOCSTART-` lines; comments; no newline at the end; gzipped or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from finetune.data.files import TextLines, raise_problems, read_lines
from finetune.errors import DataError, Problem
from finetune.tagging.formats.sentences import (
    Sentences,
    TagColumns,
    find_column,
    require_not_empty,
    task_names,
)

DOCUMENT_MARK = "-DOCSTART-"
GLOBAL_COLUMNS = "# global.columns ="
# What the columns of a file without a header are called, by their number (CoNLL-2000, CoNLL-2003, ThaiNER).
COLUMN_NAMES = {
    1: ["tokens"],
    2: ["tokens", "tags"],
    3: ["tokens", "pos_tags", "ner_tags"],
    4: ["tokens", "pos_tags", "chunk_tags", "ner_tags"],
}
LINES_LOOKED_AT = 5000  # more lines than these tell no more about the columns
DELIMITER_NAMES = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";"}


@dataclass(frozen=True)
class Layout:
    """How the lines of one file are cut: `width` columns, the word at `word`, the tag at `tag` (None: unlabelled)."""

    delimiter: str
    width: int
    word: int
    tag: int | None

    @property
    def name(self) -> str:
        """The delimiter in words."""
        return {"\t": "tabs", " ": "spaces"}.get(self.delimiter, repr(self.delimiter))

    def cut(self, line: str) -> list[str]:
        """The columns of a line. Runs of spaces are one delimiter; every tab counts."""
        if self.delimiter == " ":
            return [part for part in line.split(" ") if part]
        return line.split(self.delimiter)

    def is_break(self, line: str) -> bool:
        """Whether a line ends a sentence: it is empty, holds only delimiters, or begins a document.

        A line of spaces is a word in a file of one column, and a break in the others.
        """
        if not line or line.startswith(DOCUMENT_MARK):
            return True
        if not line.isspace():
            return False
        return not line.strip("\t") or (self.width > 1 and not line.strip(" "))


def read_conll(path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a CoNLL file.

    Raises:
        DataError: the file cannot be opened or decoded; a column that is not there; no label column; every ragged line
            and every empty word or tag, with its line; no sentence.
    """
    source = read_lines(path)
    layout = find_layout(source, columns)
    sentences, problems = _parse(source, layout)
    raise_problems(problems, path)
    which = f"words from column {layout.word}"
    which += ", no tags" if layout.tag is None else f", tags from column {layout.tag}"
    sentences.remarks.append(f"{path}: {layout.width} columns apart by {layout.name}; {which}.")
    sentences.notes = source.notes + sentences.notes
    return require_not_empty(sentences, path)


def find_layout(source: TextLines, columns: TagColumns) -> Layout:
    """How a file is cut, told by its lines and by what the user said.

    Raises:
        DataError: no sentence, a column that is not there, or no label column where one is needed.
    """
    lines = (line for line in source.lines if line and not line.isspace() and not line.startswith(DOCUMENT_MARK))
    content = list(islice(lines, LINES_LOOKED_AT))
    if not content:
        raise DataError(Problem("the file holds no sentence", path=source.path))
    typical = [line for line in content if not line.startswith("#")] or content
    delimiter = _find_delimiter(typical, columns.delimiter)
    cut = Layout(delimiter, 0, 0, None).cut
    widths = Counter(len(cut(line)) for line in typical)
    width = max(widths, key=lambda number: (widths[number], number))
    names = _column_names(source, width)
    word = 0 if columns.words is None else _named(names, columns.words, source.path, "--text_column_name", 0)
    # A line of the only column is a word as it stands, spaces included.
    return Layout("\t" if width == 1 else delimiter, width, word, _find_tag(names, columns, source.path))


def _find_delimiter(content: list[str], given: str | None) -> str:
    """The delimiter that was asked for; else a tab where most lines have one, else spaces."""
    if given:
        return DELIMITER_NAMES.get(given.lower(), given)
    with_tab = sum("\t" in line for line in content)
    return "\t" if with_tab * 2 >= len(content) else " "


def _column_names(source: TextLines, width: int) -> list[str]:
    """The names that the file itself gives (CoNLL-U Plus), else the usual ones for that many columns."""
    first = source.lines[0]
    if first.startswith(GLOBAL_COLUMNS):
        names = first.removeprefix(GLOBAL_COLUMNS).split()
        if len(names) == width:
            return names
    return COLUMN_NAMES.get(width, [f"column_{number}" for number in range(width)])


def _named(names: list[str], wanted: str, path: Path, flag: str, usual: int) -> int:
    """A column by name or number; any usual name of a column without a header means its usual place."""
    if wanted in ("tokens", "words", "word", "token") and names[0] == "tokens":
        return usual
    return find_column(names, wanted, path, flag, numbered=True)


def _find_tag(names: list[str], columns: TagColumns, path: Path) -> int | None:
    """The label column: what was asked for, else that of the task, else the last one; None where unlabelled."""
    if len(names) == 1:
        if columns.required:
            found, allowed = "there is one column only, so there are no labels", "words and tags are needed"
            raise DataError(Problem(found, allowed, "separate them with a tab or spaces", path))
        return None
    if columns.tags is not None and columns.tags not in task_names(columns.task):
        return find_column(names, columns.tags, path, "--label_column_name", numbered=True)
    wanted = (name for name in (columns.tags, *task_names(columns.task)) if name in names)
    return next((names.index(name) for name in wanted), len(names) - 1)


def split_blocks(lines: Sequence[str], is_break: Callable[[str], bool]) -> Iterator[tuple[int, list[str]]]:
    """Runs of lines between breaks, each with the 1-based number of its first line."""
    block: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not is_break(line):
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []
    if block:
        yield len(lines) + 1 - len(block), block


def _parse(source: TextLines, layout: Layout) -> tuple[Sentences, list[Problem]]:
    sentences = Sentences([], None if layout.tag is None else [], [])
    problems: list[Problem] = []
    comments = 0
    for first, block in split_blocks(source.lines, layout.is_break):
        skipped = _count_comments(block, layout)
        comments += skipped
        rows = [layout.cut(line) for line in block[skipped:]]
        problems += _row_problems(rows, first + skipped, layout, source.path)
        if rows and not problems:
            sentences.words.append([row[layout.word] for row in rows])
            sentences.lines.append(first + skipped)
            if sentences.tags is not None and layout.tag is not None:
                sentences.tags.append([row[layout.tag].strip() for row in rows])
    if comments:
        sentences.notes.append(f"{source.path}: {comments:,} comment lines were skipped.")
    return sentences, problems


def _count_comments(block: list[str], layout: Layout) -> int:
    """Comment lines at the start of a sentence: those with `#` that cannot be words, as their columns are not those."""
    count = 0
    for line in block:
        if not line.startswith("#") or not _is_comment(line, layout):
            break
        count += 1
    return count


def _is_comment(line: str, layout: Layout) -> bool:
    if layout.width == 1:
        return line.startswith("# ")
    return len(layout.cut(line)) != layout.width


def _row_problems(rows: list[list[str]], first: int, layout: Layout, path: Path) -> list[Problem]:
    """A complaint for each row that has too many or too few columns, no word, or no tag."""
    problems = []
    for number, row in enumerate(rows, start=first):
        if len(row) != layout.width:
            problems.append(_ragged(row, number, layout, path))
        elif not row[layout.word]:
            problems.append(Problem("the word is empty", path=path, line=number))
        elif layout.tag is not None and not row[layout.tag].strip():
            problems.append(Problem(f"the word {row[layout.word]!r} has an empty tag", path=path, line=number))
    return problems


def _ragged(row: list[str], line: int, layout: Layout, path: Path) -> Problem:
    noun = "column" if len(row) == 1 else "columns"
    found = f"{len(row)} {noun} apart by {layout.name} where the other lines have {layout.width}"
    remedy = "words that hold spaces need tabs between the columns" if layout.delimiter == " " else ""
    return Problem(found, f"the line is {layout.delimiter.join(row)[:80]!r}", remedy, path, line)
