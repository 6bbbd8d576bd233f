"""CoNLL-U files of Universal Dependencies: ten tab-separated columns, of which one is the word and one the tag.

https://universaldependencies.org/format.html: lines of an id range (`3-4`, a word written as one of several) and empty
nodes (`8.1`) are no syntactic words and carry no tag; they are skipped and counted.
"""

from __future__ import annotations

from pathlib import Path

from finetune.data.files import TextLines, raise_problems, read_lines
from finetune.encoding.document_context import documents_between
from finetune.errors import DataError, Problem
from finetune.tagging.formats.conll import DOCUMENT_COMMENT, find_weight, find_wide_breaks, split_blocks
from finetune.tagging.formats.sentences import (
    Sentences,
    TagColumns,
    check_sentence_weights,
    find_column,
    require_not_empty,
    task_names,
)

COLUMN_NAMES = ["id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc"]
FORM, UPOS = 1, 3
# What the columns are called elsewhere (the hub's universal_dependencies, our canonical columns).
OTHER_NAMES = {"tokens": "form", "words": "form", "pos_tags": "upos", "pos": "upos", "lemmas": "lemma"}
UPOS_TAGS = (
    *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT"),
    *("SCONJ", "SYM", "VERB", "X"),
)


def read_conllu(path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a CoNLL-U file; tags are UPOS unless another column was asked for.

    Raises:
        DataError: the file cannot be opened or decoded; a column that is not there; a tag column that the file leaves
            empty (`_` everywhere); every ragged line and every bad id, with its line; no sentence.
    """
    source = read_lines(path)
    word = FORM if columns.words is None else _column(columns.words, path, "--text_column_name")
    tag = _tag_column(columns, path)
    sentences, problems = _parse(source, word, tag, columns.weight)
    raise_problems([*problems, *check_sentence_weights(sentences, path)], path)
    _require_filled(sentences, columns, tag, path)
    marks = [number for number, line in enumerate(source.lines, start=1) if DOCUMENT_COMMENT.match(line)]
    marks = marks or find_wide_breaks(source.lines, lambda line: not line.strip())
    sentences.documents = documents_between(sentences.lines, marks)
    sentences.remarks.append(f"{path}: CoNLL-U; words from {COLUMN_NAMES[word]}, tags from {COLUMN_NAMES[tag]}.")
    sentences.notes = source.notes + sentences.notes
    return require_not_empty(sentences, path)


def _column(wanted: str, path: Path, flag: str) -> int:
    return find_column(COLUMN_NAMES, OTHER_NAMES.get(wanted, wanted), path, flag, numbered=True)


def _tag_column(columns: TagColumns, path: Path) -> int:
    if columns.tags is not None:
        return _column(columns.tags, path, "--label_column_name")
    if columns.task is None:
        return UPOS
    names = [OTHER_NAMES.get(name, name) for name in task_names(columns.task)]
    known = [name for name in names if name in COLUMN_NAMES]
    if known:
        return COLUMN_NAMES.index(known[0])
    found = f"a CoNLL-U file has no column of {columns.task}"
    allowed = f"its columns are {', '.join(COLUMN_NAMES)}"
    raise DataError(Problem(found, allowed, "choose one with --label_column_name", path))


def _parse(source: TextLines, word: int, tag: int, weight: str | None) -> tuple[Sentences, list[Problem]]:
    sentences = Sentences([], [], [])
    problems: list[Problem] = []
    skipped = {"-": 0, ".": 0}
    weights: list[str | None] = []
    for first, block in split_blocks(source.lines, lambda line: not line.strip()):
        rows = []
        for number, line in enumerate(block, start=first):
            if line.startswith("#"):
                continue
            row = line.split("\t")
            mark = _skipped_mark(row[0])
            if mark:
                skipped[mark] += 1
                continue
            problem = _row_problem(row, word, source.path, number)
            if problem:
                problems.append(problem)
            else:
                rows.append((number, row))
        _add(sentences, rows, word, tag)
        said = find_weight([line for line in block if line.startswith("#")], weight)
        weights += [said] * (len(sentences.words) - len(weights))
    sentences.weights = weights if any(value is not None for value in weights) else None
    sentences.notes += _skipped_notes(source.path, skipped)
    return sentences, problems


def _skipped_mark(identifier: str) -> str:
    """The mark in the id of a line that is no word: "-" of a range, "." of an empty node, else nothing."""
    if identifier.isdigit():
        return ""
    mark = next((mark for mark in "-." if mark in identifier), "")
    return mark if mark and all(part.isdigit() for part in identifier.split(mark)) else ""


def _row_problem(row: list[str], word: int, path: Path, line: int) -> Problem | None:
    if len(row) != len(COLUMN_NAMES):
        return Problem(f"{len(row)} columns apart by tabs", f"CoNLL-U has {len(COLUMN_NAMES)}", "", path, line)
    if not row[0].isdigit():
        return Problem(f"{row[0]!r} is no word id", "ids are 1, 2, ..., ranges 1-2, empty nodes 1.1", "", path, line)
    return None if row[word] else Problem("the word is empty", path=path, line=line)


def _add(sentences: Sentences, rows: list[tuple[int, list[str]]], word: int, tag: int) -> None:
    if rows and sentences.tags is not None:
        sentences.words.append([row[word] for _, row in rows])
        sentences.tags.append([row[tag] for _, row in rows])
        sentences.lines.append(rows[0][0])


def _skipped_notes(path: Path, skipped: dict[str, int]) -> list[str]:
    parts = [f"{skipped['-']:,} id ranges"] * bool(skipped["-"]) + [f"{skipped['.']:,} empty nodes"] * bool(
        skipped["."]
    )
    return [f"{path}: {' and '.join(parts)} were skipped; their words are read one by one."] if parts else []


def _require_filled(sentences: Sentences, columns: TagColumns, tag: int, path: Path) -> None:
    """A column of `_` only is an empty one: treebanks without text, tests without tags."""
    if all(word == "_" for words in sentences.words for word in words) and sentences.words:
        found, remedy = "every word is `_`: this treebank is published without its text", "merge the text first"
        raise DataError(Problem(found, remedy=remedy, path=path))
    if any(tag_ != "_" for tags in sentences.tags or [] for tag_ in tags):
        return
    if columns.required:
        remedy = "choose another with --label_column_name"
        raise DataError(Problem(f"the column {COLUMN_NAMES[tag]} is `_` everywhere", "", remedy, path))
    sentences.tags = None
