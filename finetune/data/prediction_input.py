"""Texts to predict, from files or standard input, in chunks: a stream of any length needs little memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from finetune.data.files import find_paths, iterate_lines
from finetune.data.words import split_words
from finetune.errors import DataError, Problem

STDIN = Path("<stdin>")
SUFFIXES = {
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".conll": "conll",
    ".conllu": "conllu",
    ".bio": "conll",
    ".iob": "conll",
}


@dataclass(frozen=True)
class InputText:
    """One thing to predict, and where it stood. `words` are given, or None where `text` is to be split."""

    text: str
    words: list[str] | None
    path: Path
    line: int
    fields: dict[str, Any]  # what else a JSON object held; handed on to the output

    def split(self, segmenter: str = "auto") -> tuple[list[str], list[tuple[int, int]]]:
        """Words and their places in `text`; `segmenter` finds them where none are given."""
        if self.words is None:
            places = split_words(self.text, segmenter)
            return [self.text[start:end] for start, end in places], places
        return self.words, place_words(self.words, self.text)


def place_words(words: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Where words stand in a text that holds them in this order."""
    places, position = [], 0
    for word in words:
        start = text.index(word, position)
        position = start + len(word)
        places.append((start, position))
    return places


def read_inputs(
    patterns: Sequence[str] | None, input_format: str, *, flag: str = "--input_file"
) -> Iterator[InputText]:
    """Every text of the files (or of standard input) in their order; empty lines of text are texts too.

    Raises:
        DataError: a file is missing or not UTF-8, or a line is not of its format.
    """
    if not patterns:
        yield from read_stream(iterate_standard_input(), STDIN, "text" if input_format == "auto" else input_format)
        return
    for path in (path for pattern in patterns for path in find_paths(pattern, flag=flag)):
        suffix = Path(path.name.removesuffix(".gz")).suffix
        kind = SUFFIXES.get(suffix, "text") if input_format == "auto" else input_format
        yield from read_stream(iterate_lines(path), path, kind)


def iterate_standard_input() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(
                Problem(f"not UTF-8: {error.reason} at byte {error.start}", path=STDIN, line=number)
            ) from error


def read_stream(lines: Iterable[str], path: Path, kind: str) -> Iterator[InputText]:
    readers = {"text": read_text_line, "words": read_words_line, "jsonl": read_json_line}
    if kind in ("conll", "conllu"):
        yield from (read_conll_lines if kind == "conll" else read_conllu_lines)(lines, path)
        return
    for number, line in enumerate(lines, start=1):
        if kind != "jsonl" or line.strip():
            yield readers[kind](line, path, number)


def read_text_line(line: str, path: Path, number: int) -> InputText:
    return InputText(line, None, path, number, {})


def read_words_line(line: str, path: Path, number: int) -> InputText:
    words = [word for word in line.split(" ") if word]
    return InputText(" ".join(words), words, path, number, {})


def read_json_line(line: str, path: Path, number: int) -> InputText:
    """An object with `text`, `words` (or `tokens`), or both; offsets then count in its text, if that holds the words."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(Problem(f"not a JSON object: {error}", path=path, line=number)) from error
    if not isinstance(row, dict) or not ({"text", "words", "tokens"} & set(row)):
        allowed = 'an object with "text" (a string) or "words" (a list of strings) is needed'
        raise DataError(Problem(f"{line[:60]!r} holds nothing to predict", allowed, path=path, line=number))
    given = [row.pop(name, None) for name in ("words", "tokens")]
    words = next((item for item in given if item is not None), None)
    text = row.pop("text", None)
    if words is not None and not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise DataError(Problem("its words are not a list of strings", path=path, line=number))
    if text is not None and not isinstance(text, str):
        raise DataError(Problem(f"its text is not a string, but {text!r}", path=path, line=number))
    if words is not None and (text is None or not holds_in_order(text, words)):
        text = " ".join(words)
    return InputText(text or "", words, path, number, row)


def holds_in_order(text: str, words: Sequence[str]) -> bool:
    position = 0
    for word in words:
        start = text.find(word, position)
        if start < 0:
            return False
        position = start + len(word)
    return True


def read_conll_lines(lines: Iterable[str], path: Path) -> Iterator[InputText]:
    """One word a line, further columns ignored; a line that is empty or only tabs ends a sentence.

    A comment is a line at the start of a sentence that begins with `# ` and has not the columns of a word.
    """
    words: list[str] = []
    first, width = 1, 2
    for number, line in enumerate(lines, start=1):
        columns = line.split("\t") if "\t" in line else line.split(" ")
        if not line.strip("\t"):
            yield from finish_sentence(words, path, first)
            words = []
        elif not line.startswith("-DOCSTART-") and (words or not line.startswith("# ") or len(columns) == width):
            first = first if words else number
            words.append(columns[0] or " ")
            width = len(columns)
    yield from finish_sentence(words, path, first)


def read_conllu_lines(lines: Iterable[str], path: Path) -> Iterator[InputText]:
    """The forms of CoNLL-U; comments, ranges (`3-4`) and empty nodes (`8.1`) are no words."""
    words: list[str] = []
    first = 1
    for number, line in enumerate(lines, start=1):
        columns = line.split("\t")
        if not line:
            yield from finish_sentence(words, path, first)
            words = []
        elif columns[0].isdigit() and len(columns) > 1:
            first = first if words else number
            words.append(columns[1])
        elif not line.startswith("#") and not set(columns[0]) <= set("0123456789-."):
            found = f"{columns[0]!r} is no word id"
            raise DataError(Problem(found, "ids are 1, 2, ..., ranges 1-2, empty nodes 1.1", path=path, line=number))
    yield from finish_sentence(words, path, first)


def finish_sentence(words: list[str], path: Path, line: int) -> Iterator[InputText]:
    if words:
        yield InputText(" ".join(words), words, path, line, {})


def in_chunks(items: Iterator[InputText], size: int) -> Iterator[list[InputText]]:
    while chunk := list(islice(items, size)):
        yield chunk
