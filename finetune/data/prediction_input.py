"""Texts to predict, from files or standard input, in chunks: a stream of any length needs little memory.

Lines of text are read here. What holds more than texts (CoNLL, JSON, tables) is read by the readers that training has,
which each task brings along.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from finetune.data.annotation_exports import is_export
from finetune.data.file_kinds import LOOKED_AT, check_text_file
from finetune.data.files import find_paths, iterate_lines, raise_problems, read_lines
from finetune.data.json_shapes import read_json_records
from finetune.data.json_values import is_json, parse_json, read_json_list
from finetune.data.words import split_words
from finetune.errors import DataError, Problem
from finetune.run.folders_aside import temporary_folder

logger = logging.getLogger(__name__)

STDIN = Path("<stdin>")
LINE_FORMATS = ("text", "words")
STDIN_SUFFIXES = {"conll": ".conll", "conllu": ".conllu", "jsonl": ".jsonl", "table": ".csv"}


@dataclass(frozen=True)
class PredictionScore:
    """Predictions against the answers that the input holds: a report for people, metrics for the last line."""

    report: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class InputText:
    """One thing to predict, and where it stood. `words` are given, or None where `text` is to be split."""

    text: str
    words: list[str] | None
    path: Path
    line: int
    fields: dict[str, Any]  # what else its object or row held; handed on to the output
    gold: Any = None  # the answer that the input itself holds: tags of the words, a label, labels or a number
    document: Hashable = None  # neighbours with the same one are of one document; None: it stands alone

    def split(self, segmenter: str = "auto") -> tuple[list[str], list[tuple[int, int]]]:
        """Words and their places in `text`; `segmenter` finds them where none are given."""
        if self.words is None:
            places = split_words(self.text, segmenter)
            return [self.text[start:end] for start, end in places], places
        return self.words, place_words(self.words, self.text)

    def beside(self, result: dict[str, Any]) -> dict[str, Any]:
        """A prediction with what the input held beside its text; a field of the same name is kept as `gold_NAME`."""
        kept = {(f"gold_{name}" if name in result else name): value for name, value in self.fields.items()}
        return {**kept, **result}


FileReader = Callable[[Path, str], Iterator[InputText]]
RecordReader = Callable[[Iterator[tuple[Any, int]], Path], Iterator[InputText]]  # of values with their lines


def place_words(words: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Where words stand in a text that holds them in this order."""
    places, position = [], 0
    for word in words:
        start = text.index(word, position)
        position = start + len(word)
        places.append((start, position))
    return places


def holds_in_order(text: str, words: Sequence[str]) -> bool:
    """Whether a text holds all words, one behind the other."""
    position = 0
    for word in words:
        start = text.find(word, position)
        if start < 0:
            return False
        position = start + len(word)
    return True


def read_inputs(
    patterns: Sequence[str] | None,
    input_format: str,
    read_file: FileReader,
    *,
    flag: str = "--input_file",
    read_records: RecordReader | None = None,
) -> Iterator[InputText]:
    """Every text of the files (or of standard input) in their order; empty lines of text are texts too.

    `read_file` reads a file in a format, `auto` included. Standard input is read line by line if it holds texts, or JSON
    with a value on each line, which `read_records` reads as it comes; in another format it is kept in a file until it
    ends, because readers look at all of it.

    Raises:
        DataError: a file is missing or not UTF-8, or is not of its format.
    """
    if patterns:
        for path in (path for pattern in patterns for path in find_paths(pattern, flag=flag)):
            yield from read_file(path, input_format)
    elif input_format in ("auto", *LINE_FORMATS):
        yield from read_line_texts(iterate_standard_input(), STDIN, "words" if input_format == "words" else "text")
    else:
        lines: Iterator[str] = iter(())
        if input_format == "jsonl" and read_records is not None:
            stream = iterate_standard_input()
            first = next((line for line in stream if line.strip()), "")
            if is_json(first) and not is_list_of_objects(parse_json(first)):
                yield from read_records(parse_json_lines(chain([first], stream)), STDIN)
                return
            lines = chain([first], stream)
        with keep_standard_input(STDIN_SUFFIXES[input_format], lines) as path:
            yield from read_file(path, input_format)


def iterate_standard_input() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, start=1):
        if number < 3:  # the first may be empty
            raise_problems(check_text_file(line[:LOOKED_AT], STDIN), STDIN)
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(
                Problem(f"not UTF-8: {error.reason} at byte {error.start}", path=STDIN, line=number)
            ) from error


@contextmanager
def keep_standard_input(suffix: str, begun: Iterable[str] = ()) -> Iterator[Path]:
    """A file that holds the lines that were read already and the rest of standard input; problems of it name standard
    input.
    """
    with temporary_folder("finetune-stdin-") as folder:
        path = folder / f"stdin{suffix}"
        with path.open("wb") as file:
            file.writelines(f"{line}\n".encode() for line in begun)
            shutil.copyfileobj(sys.stdin.buffer, file)
        try:
            yield path
        except DataError as error:
            renamed = (replace(item, path=STDIN if item.path == path else item.path) for item in error.problems)
            raise DataError(*renamed) from error


def read_line_texts(lines: Iterable[str], path: Path, kind: str) -> Iterator[InputText]:
    """One text a line, an empty line between documents; with `words` its words are what spaces separate."""
    document = 0
    for number, line in enumerate(lines, start=1):
        words = [word for word in line.split(" ") if word] if kind == "words" else None
        document += not line.strip()
        yield InputText(line if words is None else " ".join(words), words, path, number, {}, document=document)


def read_line_file(path: Path, kind: str) -> Iterator[InputText]:
    return read_line_texts(iterate_lines(path), path, kind)


def iterate_json_values(path: Path) -> Iterator[tuple[Any, int]]:
    """The records of JSON lines, one after the other, or those of one JSON value (a list, an object), with their lines.

    Raises:
        DataError: at the first line that is no JSON.
    """
    head = list(islice((line for line in iterate_lines(path) if line.strip()), 2))
    first = head[0].lstrip() if head else ""
    if first.startswith("[") and (not is_json(first) or is_list_of_objects(parse_json(first))):
        yield from zip(*read_json_list(list(iterate_lines(path)), path), strict=True)
        return
    if first.startswith("{") and (len(head) == 1 or not is_json(first)):
        yield from _records_of_one_object(path)
        return
    yield from parse_json_lines(iterate_lines(path), path)


def parse_json_lines(lines: Iterable[str], path: Path = STDIN) -> Iterator[tuple[Any, int]]:
    """The value of each line that is not blank, with its number.

    Raises:
        DataError: at the first line that is no JSON.
    """
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield parse_json(line), number
            except json.JSONDecodeError as error:
                raise DataError(Problem(f"not a JSON object: {error}", path=path, line=number)) from error


def _records_of_one_object(path: Path) -> Iterator[tuple[Any, int]]:
    records = read_json_records(read_lines(path), is_record=is_export)
    for note in records.notes:
        logger.info("%s", note)
    yield from zip(records.values, records.lines, strict=True)


def is_list_of_objects(value: Any) -> bool:
    """Of which each is a record, though they stand on one line."""
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def in_chunks(items: Iterator[InputText], size: int) -> Iterator[list[InputText]]:
    while chunk := list(islice(items, size)):
        yield chunk
