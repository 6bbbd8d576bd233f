"""CoNLL-2012 files of OntoNotes (`.v4_gold_conll`): eleven or more columns apart by spaces, one word a line.

#begin document (nw/wsj/00/wsj_0001); part 000
nw/wsj/00/wsj_0001   0   0    Pierre   NNP   (TOP(S(NP(NP*   -   -   -   -   (PERSON*   (ARG0*   (0
nw/wsj/00/wsj_0001   0   1    Vinken   NNP   *)              -   -   -   -   *)         *        0)
#end document

Names stand in the eleventh column in brackets, the predicates' arguments behind them; how many of these there are differs
from sentence to sentence (https://conll.cemantix.org/2012/data.html).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from finetune.data.files import raise_problems, read_lines
from finetune.encoding.document_context import documents_between
from finetune.errors import DataError, Problem
from finetune.tagging.formats.conll import split_blocks
from finetune.tagging.formats.sentences import Sentences, TagColumns, require_not_empty, task_names

BEGIN = "#begin document"
NUMBER, WORD, POS, PARSE, ENTITIES = 2, 3, 4, 5, 10
FEWEST = 12
BRACKET = re.compile(r"\(?([^()*]*)\*?\)?")


def is_ontonotes(lines: Sequence[str]) -> bool:
    """Whether the lines begin a document of CoNLL-2012, or have its columns: a number, a word, a piece of a parse."""
    content = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    row = content.split()
    if len(row) < FEWEST or not row[NUMBER].isdecimal():
        return False
    return "*" in row[PARSE] or any(line.startswith(BEGIN) for line in lines)


def read_ontonotes(path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a CoNLL-2012 file: names as IOB2 tags, or parts of speech where these are asked for.

    Raises:
        DataError: the file cannot be opened or decoded; a kind of tags that it has not; every line with fewer columns;
            brackets of names that do not fit; no sentence.
    """
    source = read_lines(path)
    wants_pos = _wants_pos(columns, path)
    tags_of: list[list[str]] = []
    sentences = Sentences([], tags_of, [])
    problems: list[Problem] = []
    for first, block in split_blocks(source.lines, lambda line: not line.strip() or line.startswith("#")):
        rows = [line.split() for line in block]
        short = [number for number, row in enumerate(rows, start=first) if len(row) < FEWEST]
        problems += [Problem(f"fewer than {FEWEST} columns", "CoNLL-2012 has them", "", path, line) for line in short]
        tags = None if short else [row[POS] for row in rows] if wants_pos else _read_brackets(rows)
        if tags is None and not short:
            problems.append(Problem("the brackets of names in this sentence do not fit", "", "", path, first))
        if tags is not None:
            sentences.words.append([row[WORD] for row in rows])
            tags_of.append(tags)
            sentences.lines.append(first)
    raise_problems(problems, path)
    begins = [number for number, line in enumerate(source.lines, start=1) if line.startswith(BEGIN)]
    sentences.documents = documents_between(sentences.lines, begins)
    sentences.notes = list(source.notes)
    which = f"tags from column {POS} (parts of speech)" if wants_pos else f"names from column {ENTITIES}"
    sentences.remarks.append(f"{path}: CoNLL-2012 (OntoNotes); words from column {WORD}, {which}.")
    return require_not_empty(sentences, path)


def _wants_pos(columns: TagColumns, path: Path) -> bool:
    wanted = columns.tags or columns.task
    if wanted is None or wanted in (*task_names("ner_tags"), str(ENTITIES)):
        return False
    if wanted in (*task_names("pos_tags"), str(POS)):
        return True
    found, allowed = f"CoNLL-2012 has no column {wanted!r} here", "ner_tags and pos_tags are read"
    raise DataError(Problem(found, allowed, "choose with --label_name", path))


def _read_brackets(rows: Sequence[Sequence[str]]) -> list[str] | None:
    """`(PERSON*`, `*`, `*)` as IOB2; None where a bracket closes or opens out of turn."""
    tags, open_name = [], ""
    for row in rows:
        cell = row[ENTITIES]
        match = BRACKET.fullmatch(cell)
        if (
            match is None
            or (cell.startswith("(") and open_name)
            or (not cell.startswith("(") and match[1] not in ("", "-"))
        ):
            return None
        begins = cell.startswith("(")
        open_name = match[1] if begins else open_name
        tags.append(f"{'B' if begins else 'I'}-{open_name}" if open_name else "O")
        if cell.endswith(")"):
            if not open_name:
                return None
            open_name = ""
    return None if open_name else tags
