"""Which column of a file of words holds the words and which the tags: as asked for, as named, as counted, or as judged.

A file without names is judged by what its columns hold: a column that counts words is none of words, one that spells
spans holds tags. What would be learnt from a wrong column is refused, with the first values of each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from finetune.data.files import listed
from finetune.data.tagged_lines import are_span_tags
from finetune.errors import DataError, Problem
from finetune.tagging.formats.sentences import DOCUMENT_COLUMNS, TagColumns, find_column, task_names

# What the columns of a file without a header are called, by their number (CoNLL-2000, CoNLL-2003, ThaiNER).
COLUMN_NAMES = {
    1: ["tokens"],
    2: ["tokens", "tags"],
    3: ["tokens", "pos_tags", "ner_tags"],
    4: ["tokens", "pos_tags", "chunk_tags", "ner_tags"],
}
WORD_NAMES = frozenset({"token", "tokens", "word", "words", "form", "text", "wordform", "surface"})
TAG_NAMES = (
    *("ner_tags", "ner_tag", "ner", "tags", "tag", "labels", "label", "bio", "iob", "iob_tag", "entity", "entities"),
    *(
        "ne",
        "ne_tag",
        "ne_tags",
        "ne_coarse_lit",
        "named_entity",
        "gold",
        "gold_label",
        "slot",
        "chunk_tags",
        "chunk_tag",
    ),
    *("chunk", "pos_tags", "pos_tag", "pos", "upos", "xpos"),
)
SENTENCE_END = "EndOfSentence"  # what HIPE's files write into their column MISC
NUMBER = re.compile(r"[-+]?[0-9]+(?:[.,][0-9]+)?")
FEW = 10  # rows that are too few to judge a column by
ENOUGH = 30  # rows from which on as many labels as half of them are no labels
FOR_NOTHING = frozenset({"O", "o", "_", "0"})  # tags of words outside of entities: they do stand row after row
RARELY = 4  # a column that changes in fewer than every fourth row says something of sentences or files, not of words
RICHER = 2  # words are that many times as many as parts of speech, at least

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Roles:
    """The columns of the words, of the tags (None: unlabelled), of what ends sentences, and of the names of documents."""

    word: int
    tag: int | None
    sentence_end: int | None = None
    document: int | None = None


def normal_name(name: str) -> str:
    """A column name as it is compared: `NE-COARSE-LIT` and `ne_coarse_lit` are one."""
    return re.sub(r"[\s_-]+", "_", name.strip().strip('"').lower())


def is_header(cells: Sequence[str], others: Rows) -> bool:
    """Whether the first row names columns: one of words, one of tags, and what it calls the tags is a tag nowhere."""
    names = [normal_name(cell) for cell in cells]
    words = [name for name in names if name in WORD_NAMES]
    tags = [index for index, name in enumerate(names) if name in TAG_NAMES or name.startswith("ne_")]
    if not words or not tags:
        return False
    return not any(len(row) > tags[0] and row[tags[0]].strip() == cells[tags[0]].strip() for row in others)


def choose_roles(names: list[str], rows: Rows, columns: TagColumns, path: Path, *, named: bool) -> Roles:
    """The roles of the columns `names` of a file that begins with `rows`; `named` says that it names them itself.

    Raises:
        DataError: a column that is not there; one column only where tags are needed; no sign of which holds the tags
            that were asked for.
    """
    counted = len(names) > 2 and not named and counts_words(rows)
    word = _choose_word(names, columns, path, counted=counted, named=named)
    if len(names) == 1:
        if columns.required:
            raise DataError(_one_column(rows, path))
        return Roles(word, None)
    tag = _choose_tag(names, rows, columns, path, word=word, counted=counted, named=named)
    ends = [index for index, name in enumerate(names) if normal_name(name) == "misc"] if named else []
    marked = [index for index in ends if any(SENTENCE_END in row[index] for row in rows if len(row) > index)]
    documents = [index for index, name in enumerate(names) if normal_name(name) in DOCUMENT_COLUMNS]
    return Roles(word, tag, marked[0] if marked else None, documents[0] if documents else None)


def counts_words(rows: Rows) -> bool:
    """Whether the first column counts the words of each sentence: 1, 2, 3, ..., and again from the start."""
    cells = [row[0] for row in rows]
    if len(cells) < 2 or not all(cell.isdecimal() for cell in cells):
        return False
    pairs = list(pairwise(int(cell) for cell in cells))
    ups = sum(after == before + 1 for before, after in pairs)
    starts = sum(after != before + 1 and after <= 1 for before, after in pairs)
    return ups > 0 and (ups + starts) * 10 >= 9 * len(pairs)


def _choose_word(names: list[str], columns: TagColumns, path: Path, *, counted: bool, named: bool) -> int:
    if columns.words is not None:
        if not named and columns.words in ("tokens", "words", "word", "token") and names[0] == "tokens":
            return 1 if counted else 0  # any usual name means the usual place
        return find_column(names, columns.words, path, "--text_column_name", numbered=True)
    if named:
        return next(index for index, name in enumerate(names) if normal_name(name) in WORD_NAMES)
    return 1 if counted else 0


def _choose_tag(
    names: list[str], rows: Rows, columns: TagColumns, path: Path, *, word: int, counted: bool, named: bool
) -> int:
    """The label column: what was asked for, else that of the task, else the one that spells spans, else the last."""
    wanted = task_names(columns.task)
    if columns.tags is not None and columns.tags not in wanted:
        return find_column(names, columns.tags, path, "--label_column_name", numbered=True)
    normal = [normal_name(name) for name in names]
    usual = [*wanted, *(TAG_NAMES if named and not wanted else ())]
    found = next((normal.index(name) for name in (columns.tags, *usual) if name in normal), None)
    if found is not None and not counted:
        return found
    spelling = [index for index in range(len(names)) if index != word and are_span_tags(_values(rows, index))]
    if not spelling:
        return len(names) - 1
    return spelling[0] if counted or named or len(names) - 1 not in spelling else len(names) - 1


def check_roles(rows: Rows, roles: Roles, columns: TagColumns, path: Path) -> list[Problem]:
    """What says that a column which nobody named is the wrong one."""
    tags = set() if roles.tag is None else _values(rows, roles.tag)
    spans = are_span_tags(tags)
    found = ""
    if columns.words is None:
        found = _wrong_words(rows, roles, spans=spans)
    if not found and roles.tag is not None and columns.tags is None and not spans:
        found = _wrong_tags(rows, tags, roles.tag)
    return [_choose(found, rows, path)] if found else []


def _wrong_words(rows: Rows, roles: Roles, *, spans: bool) -> str:
    words = _values(rows, roles.word)
    column = f"column {roles.word}, taken for the words,"
    if len(rows) >= FEW and all(NUMBER.fullmatch(word) for word in words):
        return f"{column} holds only numbers"
    if len(rows) >= FEW and all(map(_has_digit, words)) and _other_words(rows, roles):
        return f"{column} holds a number in every row, as {rows[0][roles.word]!r}"
    if roles.tag is not None and are_span_tags(words) and not spans:
        return f"{column} looks like tags, and column {roles.tag} does not"
    richer = [index for index in _other_words(rows, roles) if len(_values(rows, index)) > RICHER * len(words)]
    if len(rows) >= ENOUGH and richer and not any(map(_has_lower_case, words)):
        return f"{column} has {len(words)} values without small letters where column {richer[0]} looks like words"
    return f"{column} {_say_constant(rows, roles.word)}" if _is_constant(rows, roles.word) else ""


def _wrong_tags(rows: Rows, tags: set[str], tag: int) -> str:
    column = f"column {tag}, taken for the tags,"
    if len(rows) >= ENOUGH and len(tags) * 2 > len(rows):
        return f"{column} has {len(tags):,} values in {len(rows):,} rows, nearly one each"
    spaced = sorted(value for value in tags if len(value.split()) > 1)
    if spaced:
        return f"{column} holds values with spaces, as {spaced[0]!r}"
    if tags != {"O"} and (len(tags) == 1 or not tags & FOR_NOTHING) and _is_constant(rows, tag):
        return f"{column} {_say_constant(rows, tag)}"
    return ""


def _has_lower_case(word: str) -> bool:
    return any(letter.islower() for letter in word)


def _has_digit(word: str) -> bool:
    return any(letter.isdigit() for letter in word)


def _other_words(rows: Rows, roles: Roles) -> list[int]:
    """The columns that look like words and were taken for neither words nor tags."""
    others = [index for index in range(len(rows[0])) if index not in (roles.word, roles.tag)]
    return [index for index in others if _are_words(_values(rows, index), len(rows))]


def _is_constant(rows: Rows, index: int) -> bool:
    """Whether a column among several seldom changes from row to row: the name of a file or an annotator, a date."""
    if len(rows) < FEW or len(rows[0]) < 3:
        return False
    return sum(before[index] != after[index] for before, after in pairwise(rows)) * RARELY < len(rows)


def _say_constant(rows: Rows, index: int) -> str:
    values = _values(rows, index)
    first = rows[0][index].strip()
    return f"holds {first!r} throughout" if len(values) == 1 else f"holds {first!r} and the like row after row"


def _choose(found: str, rows: Rows, path: Path) -> Problem:
    """The problem of a wrong column, with what each column begins with, and the flags that choose."""
    width = len(rows[0])
    shown = [listed(list(dict.fromkeys(row[index].strip() for row in rows))[:3]) for index in range(width)]
    columns = "; ".join(f"column {index}: {values}" for index, values in enumerate(shown))
    tags = [index for index in range(width) if are_span_tags(_values(rows, index))]
    texts = [index for index in range(width) if index not in tags and _are_words(_values(rows, index), len(rows))]
    flags = f"--text_column_name {texts[0] if texts else 'N'} --label_column_name {tags[0] if tags else 'M'}"
    return Problem(found, f"the columns begin with {columns}", f"choose with {flags} (numbers from 0)", path)


def _are_words(values: set[str], count: int) -> bool:
    numbers = sum(map(_has_digit, values))
    return numbers * 2 < len(values) and (len(values) > 3 or count < FEW)


def _values(rows: Rows, index: int) -> set[str]:
    return {row[index].strip() for row in rows if len(row) > index}


def _one_column(rows: Rows, path: Path) -> Problem:
    found, allowed = "there is one column only, so there are no labels", "words and tags are needed"
    texts = sum(" " in row[0].strip() for row in rows) * 2 > len(rows)
    remedy = "separate them with a tab or spaces"
    remedy += "; texts without labels are for predict.py, texts with labels for run_glue.py" if texts else ""
    return Problem(found, allowed, remedy, path)
