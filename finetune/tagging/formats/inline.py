"""One sentence a line, each word with its tag: `Mira|B-PER saw|O`, with a bar, a slash or an underscore between.

Where no line has two words, each is one word of a sentence that an empty line ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

from finetune.data.files import raise_problems, read_lines
from finetune.data.tagged_lines import SPAN_TAG
from finetune.encoding.document_context import documents_between
from finetune.errors import DataError, Problem
from finetune.tagging.formats.conll import find_wide_breaks
from finetune.tagging.formats.sentences import Sentences, TagColumns, require_not_empty

SEPARATORS = "|/_"
LINES_LOOKED_AT = 100


def find_separator(lines: Sequence[str]) -> str | None:
    """What stands between words and tags, where nearly every word of the first lines has a tag of spans; else None."""
    words = [word for line in islice(lines, LINES_LOOKED_AT) for word in line.split()]
    for separator in SEPARATORS:
        tags = [tag for word in words for stem, _, tag in [word.rpartition(separator)] if stem]
        good = [tag for tag in tags if tag == "O" or SPAN_TAG.fullmatch(tag)]
        if words and len(good) * 10 >= len(words) * 9 and any(tag != "O" for tag in good):
            return separator
    return None


def read_inline(path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a file of one sentence a line.

    Raises:
        DataError: every word without a tag; a column was named, and there is none; no sentence.
    """
    source = read_lines(path)
    separator = find_separator(source.lines) or SEPARATORS[0]
    if columns.words is not None or columns.tags is not None:
        found = f"this file has a sentence in each line, its tags behind {separator!r}, and no columns to choose"
        raise DataError(Problem(found, remedy="leave --text_column_name and --label_column_name out", path=path))
    one_each = all(len(line.split()) < 2 for line in source.lines)  # one word a line: empty lines end sentences
    tags_of: list[list[str]] = []
    sentences = Sentences([], tags_of, [])
    problems = []
    goes_on = False
    for number, line in enumerate(source.lines, start=1):
        pairs = [word.rpartition(separator) for word in line.split()]
        bare = [tag for word, _, tag in pairs if not word or not tag]
        problems += [Problem(f"the word {word!r} has no tag", "", "", path, number) for word in bare]
        if pairs and not bare:
            _add(sentences, tags_of, pairs, number, goes_on=goes_on)
        goes_on = one_each and bool(pairs) and bool(sentences.words)
    raise_problems(problems, path)
    sentences.documents = documents_between(sentences.lines, _document_breaks(source.lines, one_each=one_each))
    sentences.notes = list(source.notes)
    unit = "word" if one_each else "sentence"
    sentences.remarks.append(f"{path}: one {unit} a line, words and tags apart by {separator!r}.")
    return require_not_empty(sentences, path)


def _document_breaks(lines: Sequence[str], *, one_each: bool) -> list[int]:
    """Where documents begin: behind an empty line between sentences; behind two of them where one ends a sentence."""
    if one_each:
        return find_wide_breaks(lines, lambda line: not line.strip())
    filled = [number for number, line in enumerate(lines, start=1) if line.strip()]
    return [after - 1 for before, after in pairwise(filled) if after - before > 1]


def _add(
    sentences: Sentences, tags_of: list[list[str]], pairs: list[tuple[str, str, str]], number: int, *, goes_on: bool
) -> None:
    """One more sentence, or one more word of the last one."""
    words, tags = [word for word, _, _ in pairs], [tag for _, _, tag in pairs]
    if goes_on:
        sentences.words[-1] += words
        tags_of[-1] += tags
        return
    sentences.words.append(words)
    tags_of.append(tags)
    sentences.lines.append(number)
