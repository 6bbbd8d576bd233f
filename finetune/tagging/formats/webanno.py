"""WebAnno TSV 3, which WebAnno and INCEpTION export: a token a line with its annotations in columns named on top.

#FORMAT=WebAnno TSV 3.3
#T_SP=de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity|identifier|value

#Text=Ann Lee met Bob .
1-1	0-3	Ann	*[1]	PER[1]
1-2	4-7	Lee	*[1]	PER[1]
1-3	8-11	met	_	_
1-4	12-15	Bob	*	PER

A number in brackets joins the tokens of one annotation; without one it covers its token alone
(https://webanno.github.io/webanno/releases/3.6.7/docs/user-guide.html#sect_webannotsv).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from finetune.data.files import TextLines, raise_problems, read_lines
from finetune.errors import DataError, Problem
from finetune.tagging.formats.sentences import Sentences, TagColumns, find_column, require_not_empty

FORMAT = "#FORMAT=WebAnno TSV 3"
TOKEN = re.compile(r"[0-9]+-[0-9]+")
PART_OF_TOKEN = re.compile(r"[0-9]+-[0-9]+\.[0-9]+")
VALUE = re.compile(r"(.*?)(?:\[([0-9]+)\])?", re.DOTALL)
ESCAPED = re.compile(r"\\(.)")
NAMELESS = "*"  # an annotation without this feature
FIRST_FEATURE = 3  # columns before: id, offsets, token
NER_LAYER = "NamedEntity"


def read_webanno(path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a WebAnno TSV 3 file with IOB2 tags of one feature.

    The feature is the one that `--label_column_name` names, else `value` of the layer NamedEntity, else the first that
    is filled. Of several annotations of a token the first counts; parts of tokens are skipped. Both are counted.

    Raises:
        DataError: the file cannot be opened or decoded; no such feature; every ragged line; no sentence.
    """
    source = read_lines(path)
    names = _feature_names(source)
    rows, problems, parts = _read_rows(source, FIRST_FEATURE + len(names))
    raise_problems(problems, path)
    if not names or not rows:
        raise DataError(Problem("the file holds no token with an annotation layer", path=path))
    feature = _choose_feature(names, [row for _, row in rows], columns, path)
    tags_of: list[list[str]] = []
    sentences = Sentences([], tags_of, [])
    stacked = 0
    for _, group in groupby(rows, key=lambda row: row[1][0].split("-")[0]):
        tokens = list(group)
        values = [row[FIRST_FEATURE + feature] for _, row in tokens]
        stacked += sum("|" in value.replace("\\|", "") for value in values)
        sentences.words.append([_unescape(row[2]) for _, row in tokens])
        tags_of.append(_tags(values))
        sentences.lines.append(tokens[0][0])
    sentences.documents = [0] * len(sentences.words)  # a document is exported into a file of its own
    sentences.notes = [*source.notes, *_notes(path, parts, stacked)]
    sentences.remarks.append(f"{path}: WebAnno TSV 3; tags from {names[feature]}.")
    return require_not_empty(sentences, path)


def _notes(path: Path, parts: int, stacked: int) -> list[str]:
    notes = [f"{path}: {stacked:,} tokens have several annotations; the first counts."] if stacked else []
    return notes + ([f"{path}: {parts:,} annotations of parts of tokens were skipped."] if parts else [])


def _feature_names(source: TextLines) -> list[str]:
    """What the columns behind the token hold, as `NamedEntity.value`, from the `#T_` lines on top."""
    names: list[str] = []
    for line in source.lines:
        if line and not line.startswith("#"):
            break
        if not line.startswith("#T_"):
            continue
        layer, *features = line.partition("=")[2].split("|")
        short = layer.rsplit(".", 1)[-1]
        features = features or [""]
        names += [f"{short}.{feature.removeprefix('BT_')}".rstrip(".") for feature in features]
    return names


def _read_rows(source: TextLines, width: int) -> tuple[list[tuple[int, list[str]]], list[Problem], int]:
    rows, problems, parts = [], [], 0
    for number, line in enumerate(source.lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        row = line.split("\t")
        row = row[:-1] if len(row) == width + 1 and not row[-1] else row
        if PART_OF_TOKEN.fullmatch(row[0]):
            parts += 1
        elif len(row) != width or not TOKEN.fullmatch(row[0]):
            found = f"{len(row)} columns, the first of which is {row[0]!r}"
            allowed = f"the lines on top announce {width}, the first like 1-1"
            problems.append(Problem(found, allowed, "", source.path, number))
        else:
            rows.append((number, row))
    return rows, problems, parts


def _choose_feature(names: Sequence[str], rows: Sequence[Sequence[str]], columns: TagColumns, path: Path) -> int:
    if columns.tags is not None:
        short = [name.rsplit(".", 1)[-1] for name in names]
        wanted = names[short.index(columns.tags)] if columns.tags in short else columns.tags
        return find_column(names, wanted, path, "--label_column_name", numbered=True)
    filled = [index for index in range(len(names)) if any(_is_filled(row[FIRST_FEATURE + index]) for row in rows)]
    entities = [index for index in filled if names[index].startswith(NER_LAYER)]
    if not filled:
        there = f"the features are {', '.join(names)}"
        raise DataError(Problem("no token has an annotation", there, "annotate, or choose another file", path))
    valued = [index for index in entities if names[index].endswith(".value")]
    return (valued or entities or filled)[0]


def _is_filled(value: str) -> bool:
    return value not in ("_", "") and not value.startswith(NAMELESS)


def _tags(values: Sequence[str]) -> list[str]:
    """IOB2 tags of the tokens of a sentence; tokens with the same number are one annotation."""
    tags, before = [], ""
    for value in values:
        first = re.split(r"(?<!\\)\|", value)[0]
        match = VALUE.fullmatch(first)
        name, number = match.groups() if match else (first, None)  # it matches any text
        if first in ("_", ""):
            tags.append("O")
            before = ""
            continue
        label = "_" if name == NAMELESS else _unescape(name)
        tags.append(f"{'I' if number and number == before else 'B'}-{label}")
        before = number or ""
    return tags


def _unescape(text: str) -> str:
    return ESCAPED.sub(r"\1", text)
