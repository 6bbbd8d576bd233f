"""CSV and TSV files with a header: one token a row with a sentence id, or one sentence a row with its words as a list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from finetune.data.files import TextLines, raise_problems, read_lines
from finetune.data.list_cells import is_list_cell, parse_list
from finetune.data.separated_rows import Row, SeparatedTable, read_separated_table, sniff_delimiter
from finetune.encoding.document_context import number_documents
from finetune.errors import DataError, Problem
from finetune.tagging.formats.conll import DELIMITER_NAMES
from finetune.tagging.formats.records import read_records, require_tagged
from finetune.tagging.formats.sentences import (
    DOCUMENT_COLUMNS,
    TAG_COLUMNS,
    WORD_COLUMNS,
    Sentences,
    TagColumns,
    check_sentence_weights,
    find_column,
    require_not_empty,
    task_names,
)
from finetune.tagging.formats.split_cells import split_tags

SENTENCE_COLUMNS = ("sentence_id", "sent_id", "sentence #", "sentence", "sentence_idx", "sentence_number", "sid", "id")
WORDS_OF_TOKENS = ("word", "words", "token", "tokens", "form")

Rows = list[Row]


def read_table(path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a CSV or TSV file with a header.

    Raises:
        DataError: the file cannot be opened or decoded; a column that is not there; no label column; every row with other
            columns than the header, every empty word or tag, with its line; whole texts with one label each; no sentence.
    """
    source = read_lines(path)
    table = read_separated_table(source, delimiter=_delimiter(source, columns.delimiter))
    header, rows = table.header, table.rows
    columns = replace(columns, words=_named(header, columns.words), tags=_named(header, columns.tags))
    listed = [name for index, name in enumerate(header) if rows and is_list_cell(rows[0][1][index])]
    word, sentence_id = (None, None) if listed else _token_columns(header, rows, columns)
    if word is None:
        raise_problems(_list_problems(header, rows, listed, path), path)
        if not listed:
            require_tagged([dict(zip(header, cells, strict=True)) for _, cells in rows], header, columns, path)
        records = _records(header, rows, listed, columns)
        sentences = read_records(records, [line for line, _ in rows], path, columns)
    else:
        sentences = _read_tokens(table, word, sentence_id, path, columns)
    sentences.notes = source.notes + table.notes + sentences.notes
    return require_not_empty(sentences, path)


def is_table(lines: Sequence[str], columns: TagColumns, suffix: str) -> bool:
    """Whether the first lines are those of a table, not of a CoNLL file that names its columns.

    A table has sentence ids, or a whole sentence in each row.
    """
    content = [line for line in lines if line.strip()]
    if not content:
        return False
    delimiter = "\t" if suffix == ".tsv" else sniff_delimiter(content)
    header = [cell.strip().strip('"') for cell in content[0].split(delimiter)]
    if not has_table_header(content[0], columns):
        return False
    if _pick(header, None, SENTENCE_COLUMNS) is not None:
        return True
    words = _pick(header, columns.words, WORD_COLUMNS)
    place = header.index(words) if words in header else 0
    rows = [line for line in content[1:] if not line.startswith("# ")]
    cells = [row[place].strip() for line in rows if len(row := line.split(delimiter)) > place]
    return suffix == ".tsv" and any(" " in cell or cell.startswith(("[", '"[')) for cell in cells)


def has_table_header(line: str, columns: TagColumns) -> bool:
    """Whether a line names columns that a table of tagged text has, so that the file is no CoNLL file."""
    names = {cell.strip().strip('"').lower() for cell in re.split(r"[,;\t|]", line)}
    wanted = {name.lower() for name in (columns.words, columns.tags, *task_names(columns.task)) if name}
    return len(names) > 1 and (bool(names & wanted) or (bool(names & {*WORD_COLUMNS}) and bool(names & {*TAG_COLUMNS})))


def _delimiter(source: TextLines, given: str | None) -> str | None:
    """The one asked for; else the tab of a .tsv file; None leaves it to the first line."""
    if given:
        return DELIMITER_NAMES.get(given.lower(), given)
    return "\t" if ".tsv" in source.path.suffixes else None


def _named(header: Sequence[str], wanted: str | None) -> str | None:
    """The name of a column that was given by its number."""
    if wanted is None or wanted in header or not wanted.removeprefix("-").isdigit():
        return wanted
    number = int(wanted)
    return header[number] if -len(header) <= number < len(header) else wanted


def _list_problems(header: Sequence[str], rows: Rows, listed: Sequence[str], path: Path) -> list[Problem]:
    places = [(name, header.index(name)) for name in listed]
    allowed = "JSON (a list of strings) or a Python list, its items apart by commas, is allowed"
    return [
        Problem(f"the cell of {name} is no list: {cells[index][:60]!r}", allowed, path=path, line=line)
        for line, cells in rows
        for name, index in places
        if parse_list(cells[index]) is None
    ]


def _records(header: Sequence[str], rows: Rows, listed: Sequence[str], columns: TagColumns) -> list[dict[str, Any]]:
    """Rows as records: list cells as lists; without any, words are what spaces separate, and tags spaces or commas."""
    separated = [] if listed else _space_separated(header, columns)
    records = []
    for _, cells in rows:
        record: dict[str, Any] = dict(zip(header, cells, strict=True))
        record.update({name: parse_list(record[name]) for name in listed})
        count = len(record[separated[0]].split()) if separated else 0
        record.update({name: split_tags(record[name], count) for name in separated})
        records.append(record)
    return records


def _space_separated(header: Sequence[str], columns: TagColumns) -> list[str]:
    words = _pick(header, columns.words, WORD_COLUMNS)
    tags = _pick(header, columns.tags, (*task_names(columns.task), *TAG_COLUMNS))
    if tags is None:
        return [words] if words in ("words", "tokens") else []
    return [name for name in (words, tags) if name is not None]


def _token_columns(header: Sequence[str], rows: Rows, columns: TagColumns) -> tuple[str | None, str | None]:
    """The column of single words, where each row is a word, and the column of sentence ids, where there is one.

    An `id` that is another in every row may count sentences as well as words: then the cells decide.
    """
    words = _pick(header, columns.words, WORDS_OF_TOKENS)
    if words is None:
        return None, None
    place = header.index(words)

    def are_single_words() -> bool:
        return sum(" " not in cells[place].strip() for _, cells in rows) * 20 >= 19 * len(rows)

    sentence_id = _pick(header, None, [name for name in SENTENCE_COLUMNS if name != words.lower()])
    if sentence_id is not None:
        ids = [cells[header.index(sentence_id)] for _, cells in rows]
        repeats = len(set(ids)) < len(ids)
        return (words, sentence_id) if repeats or are_single_words() else (None, None)
    tags = _pick(header, columns.tags, (*task_names(columns.task), *TAG_COLUMNS))
    return (words, None) if tags is not None and are_single_words() else (None, None)


def _pick(header: Sequence[str], wanted: str | None, usual: Sequence[str]) -> str | None:
    """The column asked for if it is there, else the first with a usual name, whatever its case."""
    by_lower = {name.lower(): name for name in reversed(header)}
    if wanted is not None:
        return wanted if wanted in header else None
    return next((by_lower[name] for name in usual if name in by_lower), None)


def _read_tokens(
    table: SeparatedTable, words: str, sentence_id: str | None, path: Path, columns: TagColumns
) -> Sentences:
    header, rows = table.header, table.rows
    word = _index(header, columns.words, [words.lower()], path)
    tag = _tag_index(header, columns, path)
    weight = header.index(columns.weight) if columns.weight in header else None
    problems = _empty_cells(rows, word, tag, path)
    ends = "empty lines" if sentence_id is None else sentence_id
    groups = _blocks(table) if sentence_id is None else _sentence_groups(rows, header.index(sentence_id))
    weights: list[str] = []
    sentences = Sentences([], None if tag is None else [], [], weights=None if weight is None else weights)
    for group in groups:
        sentences.words.append([cells[word] for _, cells in group])
        sentences.lines.append(group[0][0])
        if weight is not None:
            weights.append(group[0][1][weight].strip())
            problems += _weight_problems(group, weight, path)
        if sentences.tags is not None and tag is not None:
            sentences.tags.append([cells[tag].strip() for _, cells in group])
    raise_problems(by_line([*problems, *check_sentence_weights(sentences, path)]), path)
    document = _pick(header, None, DOCUMENT_COLUMNS)
    if document is not None:
        sentences.documents = number_documents(_fill_down([group[0][1][header.index(document)] for group in groups]))
    which = f"words from {header[word]}" + ("" if tag is None else f", tags from {header[tag]}")
    sentences.remarks.append(f"{path}: one token a row; {which}, sentences from {ends}.")
    if sentence_id is None and len(sentences.words) == 1 and len(rows) > 1:
        sentences.notes.append(f"{path}: no empty row ends a sentence; its {len(rows):,} words are taken as one.")
    return sentences


def _weight_problems(group: Rows, place: int, path: Path) -> list[Problem]:
    """Words of a sentence that say otherwise what it weighs than its first; an empty cell says nothing."""
    first = group[0][1][place].strip()
    other = next(((line, cells[place]) for line, cells in group if cells[place].strip() not in ("", first)), None)
    if other is None:
        return []
    found = f"the weight is {other[1]!r} where the sentence begins with {first!r}"
    return [Problem(found, "a sentence has one weight", path=path, line=other[0])]


def by_line(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.line or 0)


def _fill_down(cells: Sequence[str]) -> list[str]:
    """Cells without white space around them; an empty one goes on with the last."""
    filled: list[str] = []
    for cell in cells:
        filled.append(cell.strip() or (filled[-1] if filled else ""))
    return filled


def _blocks(table: SeparatedTable) -> list[Rows]:
    """Rows between empty lines, or between rows of nothing but separators."""
    borders = sorted({0, *table.find_breaks(), len(table.rows)})
    return [table.rows[start:end] for start, end in pairwise(borders)]


def _index(header: list[str], wanted: str | None, usual: Sequence[str], path: Path) -> int:
    if wanted is not None:
        return find_column(header, wanted, path, "--text_column_name", numbered=True)
    name = _pick(header, None, usual)
    return 0 if name is None else header.index(name)


def _tag_index(header: list[str], columns: TagColumns, path: Path) -> int | None:
    if columns.tags is not None and (columns.required or columns.tags in header):
        return find_column(header, columns.tags, path, "--label_column_name", numbered=True)
    name = _pick(header, None, (*task_names(columns.task), *TAG_COLUMNS)) if columns.tags is None else None
    if name is None and columns.required:
        there = f"the columns are {', '.join(header)}"
        raise DataError(Problem("there is no label column", there, "name it with --label_column_name", path))
    return None if name is None else header.index(name)


def _sentence_groups(rows: Rows, id_index: int) -> list[Rows]:
    """Rows of one sentence together: those with the same id one after another; an empty id goes on with the last."""
    current = ""
    keyed = []
    for row in rows:
        current = row[1][id_index].strip() or current
        keyed.append((current, row))
    return [[row for _, row in group] for _, group in groupby(keyed, key=lambda item: item[0])]


def _empty_cells(rows: Rows, word: int, tag: int | None, path: Path) -> list[Problem]:
    problems = [Problem("the word is empty", path=path, line=line) for line, cells in rows if not cells[word]]
    if tag is not None:
        untagged = ((line, cells) for line, cells in rows if cells[word] and not cells[tag].strip())
        problems += [
            Problem(f"the word {row[word]!r} has an empty tag", path=path, line=line) for line, row in untagged
        ]
    return sorted(problems, key=lambda problem: problem.line or 0)
