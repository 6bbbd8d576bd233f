"""Reference files of Chinese whole-word masking: which subwords of each line go on with a word.

BERT cuts Chinese into single characters, so a segmenter's words must be told. The file has one JSON list for each line
of text that is not empty: positions, counted with the special token in front, of subwords that do not begin a word (as
Hugging Face's `run_chinese_ref.py` writes them).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from finetune.data.files import iterate_lines
from finetune.data.json_values import parse_json
from finetune.encoding.lines import EncodedLines
from finetune.encoding.ragged import offsets_of
from finetune.errors import DataError, Problem

Reference = tuple[int, list[int]]  # line of the file, positions


def read_references(path: Path) -> Iterator[Reference]:
    """The lists of a reference file, one at a time, with their line numbers.

    Raises:
        DataError: a line is not a JSON list of whole numbers that are not negative.
    """
    for number, line in enumerate(iterate_lines(path), start=1):
        if line.strip():
            yield number, _read_positions(line, path, number)


def _read_positions(line: str, path: Path, number: int) -> list[int]:
    try:
        positions = parse_json(line)
    except ValueError:
        positions = None
    if not isinstance(positions, list) or not all(type(item) is int and item >= 0 for item in positions):
        found = f"{line[:40]!r} is not a list of positions"
        raise DataError(Problem(found, "each line is a JSON list such as [2, 3, 7]", path=path, line=number))
    return positions


def join_words(batches: Iterator[EncodedLines], path: Path, prefix_length: int) -> Iterator[EncodedLines]:
    """The same lines with the words of a reference file joined in their `word_starts`.

    `prefix_length`: special tokens in front of a line, which the file counts.

    Raises:
        DataError: the file has more or fewer lists than the text has lines, or a position behind the end of its line.
    """
    references = read_references(path)
    lines_read = 0
    for lines in batches:
        wanted = list(islice(references, lines.lines_read))
        lines_read += lines.lines_read
        if len(wanted) < lines.lines_read:
            raise DataError(_other_number(path, lines_read - lines.lines_read + len(wanted), "more lines"))
        _join(lines, wanted, path, prefix_length)
        yield lines
    extra = sum(1 for _ in references)
    if extra:
        raise DataError(_other_number(path, lines_read + extra, f"{lines_read:,} lines"))


def _join(lines: EncodedLines, references: list[Reference], path: Path, prefix_length: int) -> None:
    assert lines.word_starts is not None and lines.places is not None
    starts = offsets_of(lines.lengths)
    for row, place in enumerate(lines.places):
        number, positions = references[place]
        subwords = np.array(positions, dtype=np.int64) - prefix_length
        length = int(lines.lengths[row])
        if len(subwords) and subwords.max() >= length:
            found = f"position {subwords.max() + prefix_length} lies behind the {length} subwords of its line"
            remedy = "make the reference file with the same tokenizer and the same text"
            raise DataError(Problem(found, "", remedy, path, number))
        lines.word_starts[starts[row] + subwords[subwords > 0]] = False


def _other_number(path: Path, found: int, text: str) -> Problem:
    return Problem(
        f"the reference file has {found:,} lists and the text has {text} that are not empty",
        "there must be one for each",
        "make the reference file with the same text",
        path,
    )
