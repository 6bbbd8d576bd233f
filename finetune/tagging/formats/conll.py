"""CoNLL files: one word a line with its tags in columns, sentences apart by blank lines.

Read as they are published: columns apart by one tab (then words may hold spaces, or be one) or by spaces; sentence
breaks that are empty, or only a tab (WNUT17); `-DOCSTART-` lines; comments; no newline at the end; gzipped or not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from finetune.data.files import TextLines, raise_problems, read_lines
from finetune.data.tagged_lines import SPAN_TAG
from finetune.encoding.document_context import documents_between, number_documents
from finetune.errors import DataError, Problem
from finetune.tagging.formats.column_roles import (
    COLUMN_NAMES,
    SENTENCE_END,
    check_roles,
    choose_roles,
    is_header,
)
from finetune.tagging.formats.sentences import Sentences, TagColumns, check_sentence_weights, require_not_empty

DOCUMENT_MARK = "-DOCSTART-"
# Comments that begin a document: `# newdoc id = x` (CoNLL-U), `# hipe2022:document_id = x` (HIPE).
DOCUMENT_COMMENT = re.compile(r"#\s*(?:newdoc(?:\s|$)|(?:[^\s=]+:)?(?:document_id|doc_id)\s*=)")
GLOBAL_COLUMNS = "# global.columns ="
LINES_LOOKED_AT = 2000  # more lines than these tell no more about the columns
DELIMITER_NAMES = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";"}
# Comments inside a sentence: a word `#` would have a tag beside it, which the width tells.
INNER_COMMENT = re.compile(r"#\s*\S.*[\s=:]")
TAG_LIKE = re.compile(r"[A-Z][A-Z0-9$.]*|[-_.,:;$#'`(){}\[\]]{1,3}")  # parts of speech


@dataclass(frozen=True)
class Layout:
    """How the lines of one file are cut: `width` columns, the word at `word`, the tag at `tag` (None: unlabelled).

    `header` is the line that names the columns; `tags` are those seen beside words, which tell words like `#` from
    comments; a cell that holds `EndOfSentence` at `sentence_end` ends a sentence; `document` holds names of documents.
    """

    delimiter: str
    width: int
    word: int
    tag: int | None
    header: str | None = None
    tags: frozenset[str] = frozenset()
    sentence_end: int | None = None
    document: int | None = None
    weight: int | None = None  # the column of what sentences weigh
    weight_name: str | None = None  # what it is called, in a header or in comments before sentences

    @property
    def name(self) -> str:
        """The delimiter in words."""
        return {"\t": "tabs", " ": "spaces"}.get(self.delimiter, repr(self.delimiter))

    def cut(self, line: str) -> list[str]:
        """The columns of a line, without empty ones at the end that are more than `width`."""
        row = self.split(line)
        return row if len(row) <= self.width or not self.width else _trimmed(row, self.width)

    def split_all(self, lines: Sequence[str]) -> list[list[str]]:
        """What the delimiter separates in each line."""
        if self.delimiter == " ":
            return [self.split(line) for line in lines]
        return [line.split(self.delimiter) for line in lines]

    def split(self, line: str) -> list[str]:
        """What the delimiter separates. Runs of spaces are one delimiter; every tab counts."""
        if self.delimiter == " ":
            return [part for part in line.split(" ") if part]
        return line.split(self.delimiter)

    def is_break(self, line: str) -> bool:
        """Whether a line ends a sentence: it is empty, holds only delimiters, or begins a document.

        A line of spaces is a word in a file of one column, and a break in the others.
        """
        if line[:1].isalnum():  # nearly every line
            return False
        if not line or line.startswith(DOCUMENT_MARK):
            return True
        if not line.isspace():
            return self.delimiter not in "\t " and not line.strip(self.delimiter)
        return self.width > 1 or not line.strip("\t")


def read_conll(path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a CoNLL file.

    Raises:
        DataError: the file cannot be opened or decoded; a column that is not there; no label column; columns that are
            none of words and tags; every ragged line and every empty word or tag, with its line; no sentence.
    """
    source = read_lines(path)
    layout = find_layout(source, columns)
    sentences, problems = _parse(source, layout)
    raise_problems([*problems, *check_sentence_weights(sentences, path)], path)
    apart = _settle_documents(sentences, source.lines, layout)
    which = f"words from column {layout.word}"
    which += ", no tags" if layout.tag is None else f", tags from column {layout.tag}"
    sentences.remarks.append(f"{path}: {layout.width} columns apart by {layout.name}; {which}{apart}.")
    sentences.notes = source.notes + sentences.notes
    return require_not_empty(sentences, path)


def find_layout(source: TextLines, columns: TagColumns) -> Layout:
    """How a file is cut, told by its lines and by what the user said.

    Raises:
        DataError: no sentence, a column that is not there, no label column where one is needed, or columns that hold
            neither words nor tags.
    """
    lines = (line for line in source.lines if line and not line.isspace() and not line.startswith(DOCUMENT_MARK))
    content = list(islice(lines, LINES_LOOKED_AT))
    if not content:
        raise DataError(Problem("the file holds no sentence", path=source.path))
    typical = [line for line in content if not line.startswith("#")] or content
    delimiter = _find_delimiter(typical, columns.delimiter)
    cut = Layout(delimiter, 0, 0, None).cut
    raw = [cut(line) for line in typical]
    rows = [_trimmed(row, 1) for row in raw]
    width = _usual_width(raw, rows)
    named = width > 1 and len(rows[0]) == width and is_header(rows[0], rows[1:])
    names = [name.strip() for name in rows[0]] if named else _column_names(source, width)
    fitting = [row for row in rows[named:] if len(row) == width]
    if not fitting:
        raise DataError(Problem("the file holds a header and no words", path=source.path))
    roles = choose_roles(names, fitting, columns, source.path, named=named)
    raise_problems(check_roles(fitting, roles, columns, source.path), source.path)
    tags = frozenset() if roles.tag is None else frozenset(row[roles.tag].strip() for row in fitting)
    header = typical[0] if named else None
    # A line of the only column is a word as it stands, spaces included.
    cut_at = "\t" if width == 1 else delimiter
    weight = names.index(columns.weight) if named and columns.weight in names else None
    marks = (roles.sentence_end, roles.document, weight, columns.weight)
    return Layout(cut_at, width, roles.word, roles.tag, header, tags, *marks)


def _usual_width(raw: Sequence[Sequence[str]], rows: Sequence[Sequence[str]]) -> int:
    """How many columns most rows have; empty cells at their ends count where all rows have them and some fill them."""
    widths = Counter(map(len, rows))
    widest = max(widths)
    if all(len(row) >= widest for row in raw):
        return widest
    return max(widths, key=lambda number: (widths[number], number))


def _trimmed(row: list[str], width: int) -> list[str]:
    """A row without the empty cells at its end that are more than `width`."""
    end = len(row)
    while end > width and not row[end - 1].strip():
        end -= 1
    return row[:end]


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


def _settle_documents(sentences: Sentences, lines: Sequence[str], layout: Layout) -> str:
    """Number the documents as the file marks them, if it does; what the remark says of it."""
    if layout.document is not None:
        return ""  # _add_rows has
    marks = [
        number
        for number, line in enumerate(lines, start=1)
        if line.startswith(DOCUMENT_MARK)
        or (line.startswith("#") and DOCUMENT_COMMENT.match(line) and _is_comment(line, layout))
    ]
    sentences.documents = documents_between(sentences.lines, marks)
    if marks:
        return ""
    sentences.documents = documents_between(sentences.lines, find_wide_breaks(lines, layout.is_break))
    return "" if sentences.documents is None else "; two empty lines or more end a document"


def find_wide_breaks(lines: Sequence[str], is_break: Callable[[str], bool]) -> list[int]:
    """The second lines of breaks that are two lines or more, with something before and behind them."""
    starts = [first for first, _ in split_blocks(lines, is_break)]
    ends = [first + len(block) for first, block in split_blocks(lines, is_break)]
    return [end + 1 for end, start in zip(ends, starts[1:], strict=False) if start - end > 1]


def _parse(source: TextLines, layout: Layout) -> tuple[Sentences, list[Problem]]:
    sentences = Sentences([], None if layout.tag is None else [], [])
    problems: list[Problem] = []
    keys: list[str | None] = []
    weights: list[str | None] = []
    comments = headers = 0
    for first, block in split_blocks(source.lines, layout.is_break):
        if block[0] == layout.header:
            first, block, headers = first + 1, block[1:], headers + 1
        skipped = _count_comments(block, layout)
        kept = block[skipped:] if skipped else block
        numbers: Sequence[int] = range(first + skipped, first + len(block))
        comments += skipped
        rows = layout.split_all(kept)
        wrong = _row_problems(rows, numbers, layout, source.path)
        if wrong:  # rarely: cells at the end that are empty, comments inside the sentence
            inner = [place for place, line in enumerate(kept) if not _is_inner_comment(line, layout)]
            comments += len(kept) - len(inner)
            rows, numbers = [layout.cut(kept[place]) for place in inner], [numbers[place] for place in inner]
            wrong = _row_problems(rows, numbers, layout, source.path)
        problems += wrong
        if rows and not problems:
            _add_rows(sentences, rows, numbers, layout, keys)
            said = find_weight(block[:skipped], layout.weight_name) if layout.weight is None else rows[0][layout.weight]
            weights += [said] * (len(sentences.words) - len(weights))
    sentences.weights = weights if any(weight is not None for weight in weights) else None
    if layout.document is not None:
        sentences.documents = number_documents(keys)
    if comments:
        sentences.notes.append(f"{source.path}: {comments:,} comment lines were skipped.")
    if headers:
        sentences.notes.append(
            f"{source.path}: {headers:,} lines name the columns ({layout.header!r}); they are no words."
        )
    return sentences, problems


def find_weight(comments: Iterable[str], name: str | None) -> str | None:
    """What comment lines before a sentence say that it weighs (`# NAME = 2`); None where none says it."""
    if name is None:
        return None
    pairs = [re.split(r"\s*[=:]\s*", line.lstrip("#").strip(), maxsplit=1) for line in comments]
    return next((pair[1] for pair in pairs if len(pair) == 2 and pair[0] == name), None)


def _add_rows(
    sentences: Sentences, rows: list[list[str]], numbers: Sequence[int], layout: Layout, keys: list[str | None]
) -> None:
    """The rows between two breaks: one sentence, or several where a column says where they end.

    `keys` gets the name of each sentence's document where a column holds it.
    """
    word, tag = layout.word, layout.tag
    for start, end in _sentence_borders(rows, layout.sentence_end):
        own = rows if end - start == len(rows) else rows[start:end]
        sentences.words.append([row[word] for row in own])
        sentences.lines.append(numbers[start])
        if layout.document is not None:
            keys.append(own[0][layout.document].strip() or None)
        if sentences.tags is not None and tag is not None:
            sentences.tags.append([row[tag].strip() for row in own])


def _sentence_borders(rows: list[list[str]], marks: int | None) -> Iterable[tuple[int, int]]:
    if marks is None:
        return ((0, len(rows)),)
    ends = [place + 1 for place, row in enumerate(rows) if SENTENCE_END in row[marks]]
    return pairwise(dict.fromkeys([0, *ends, len(rows)]))


def _count_comments(block: list[str], layout: Layout) -> int:
    """Comment lines at the start of a sentence: those with `#` that cannot be words."""
    count = 0
    for line in block:
        if not line.startswith("#") or not _is_comment(line, layout):
            break
        count += 1
    return count


def _is_comment(line: str, layout: Layout) -> bool:
    """Whether a line with `#` has not the columns of a word, or has beside it what is no tag of any word."""
    if layout.width == 1:
        return line.startswith("# ")
    row = layout.cut(line)
    if len(row) != layout.width or layout.tag is None:
        return len(row) != layout.width
    tag = row[layout.tag].strip()
    return tag not in layout.tags and not SPAN_TAG.fullmatch(tag) and not TAG_LIKE.fullmatch(tag)


def _is_inner_comment(line: str, layout: Layout) -> bool:
    """Whether a line inside a sentence is a comment: `# key = value` without the columns of a word (HIPE)."""
    if not line.startswith("#") or layout.width == 1 or not INNER_COMMENT.match(line):
        return False
    return _is_comment(line, layout)


def _row_problems(rows: list[list[str]], numbers: Sequence[int], layout: Layout, path: Path) -> list[Problem]:
    """A complaint for each row that has too many or too few columns, no word, or no tag."""
    problems = []
    width, word, tag = layout.width, layout.word, layout.tag
    for number, row in zip(numbers, rows, strict=True):
        if len(row) != width:
            problems.append(_ragged(row, number, layout, path))
        elif not row[word]:
            problems.append(Problem("the word is empty", path=path, line=number))
        elif tag is not None and not row[tag].strip():
            found = f"the word {row[word]!r} has an empty tag"
            problems.append(Problem(found, "", "a word outside of every entity has the tag O", path, number))
    return problems


def _ragged(row: list[str], line: int, layout: Layout, path: Path) -> Problem:
    noun = "column" if len(row) == 1 else "columns"
    found = f"{len(row)} {noun} apart by {layout.name} where the other lines have {layout.width}"
    remedy = "words that hold spaces need tabs between the columns" if layout.delimiter == " " else ""
    return Problem(found, f"the line is {layout.delimiter.join(row)[:80]!r}", remedy, path, line)
