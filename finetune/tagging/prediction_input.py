"""Files to tag -> inputs, by the readers of training: the same formats, told apart in the same way.

Only a file whose name says nothing (`.txt`) may also be raw text, one text a line: it is taken for words with tags where it
is of a format that cannot be mistaken, or its lines are columns and the last holds labels of the model or tabs are between.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from finetune.arguments.prediction import PredictArguments
from finetune.data.files import MAX_LISTED, iterate_lines, raise_problems
from finetune.data.prediction_input import (
    LINE_FORMATS,
    InputText,
    holds_in_order,
    iterate_json_values,
    read_inputs,
    read_line_file,
)
from finetune.data.row_files import RowTable, read_row_file
from finetune.errors import DataError, Problem
from finetune.tagging.formats.annotations import is_rejected, unwrap_record
from finetune.tagging.formats.choice import LINES_LOOKED_AT, READERS, Reader, find_reader, read_sentences
from finetune.tagging.formats.conll import read_conll
from finetune.tagging.formats.conllu import read_conllu
from finetune.tagging.formats.inline import find_separator, read_inline
from finetune.tagging.formats.jsonl import read_jsonl
from finetune.tagging.formats.ontonotes import read_ontonotes
from finetune.tagging.formats.records import read_records
from finetune.tagging.formats.sentences import DOCUMENT_COLUMNS, TAG_COLUMNS, WORD_COLUMNS, Sentences, TagColumns
from finetune.tagging.formats.table import has_table_header, read_table
from finetune.tagging.formats.webanno import read_webanno

logger = logging.getLogger(__name__)

CONLL_SUFFIXES = (".conll", ".iob", ".iob2", ".bio", ".bioes", ".tsv")
TABLE_SUFFIXES = (".csv", ".tsv")
TEXT_COLUMNS = ("text", "texts", "sentence", "content", "review", "body", "comment", "title")
NAMED_READERS: dict[str, Reader] = {"conll": read_conll, "conllu": read_conllu, "table": read_table}
UNMISTAKABLE = (read_webanno, read_ontonotes, read_jsonl)  # no raw text looks like what these read
LABEL_SHARE = 0.8  # of the lines whose last column is a label of the model, for a file to be words with tags


@dataclass(frozen=True)
class TaggingInputs:
    """Reads what is to be tagged. `labels` are those of the model, `segmenter` cuts raw text into words."""

    options: PredictArguments
    labels: Sequence[str]
    segmenter: str

    def read(self, *, flag: str = "--input_file") -> Iterator[InputText]:
        """Every text of the files or of standard input.

        Raises:
            DataError: as the readers of training, or a text that is none; all that the file has.
        """
        options = self.options
        return read_inputs(
            options.input_file, options.input_format, self.read_file, flag=flag, read_records=self.read_stream
        )

    def read_stream(self, values: Iterator[tuple[Any, int]], path: Path) -> Iterator[InputText]:
        """Records as they come; the first that is wrong ends the stream."""
        return (read_record(value, line, path, self.columns) for value, line in values)

    @property
    def columns(self) -> TagColumns:
        asked = self.options
        are_numbers = all(label.isdecimal() for label in self.labels)
        return TagColumns(
            words=asked.text_column_name,
            tags=asked.label_column_name,
            delimiter=asked.delimiter,
            labels=None if are_numbers else tuple(self.labels),
            required=False,
            segmenter=self.segmenter,
        )

    def read_file(self, path: Path, kind: str) -> Iterator[InputText]:
        """The texts of one file."""
        kind = self.find_kind(path) if kind == "auto" else kind
        if kind in LINE_FORMATS:
            yield from read_line_file(path, kind)
        elif kind == "jsonl":
            yield from self.read_json(path)
        elif kind == "table" and (table := self.find_raw_table(path)) is not None:
            yield from read_raw_rows(table, self.text_column(table) or "")
        else:
            read = NAMED_READERS.get(kind, read_sentences)
            yield from give_sentences(read(path, self.columns), path)

    def find_kind(self, path: Path) -> str:
        """One of the input formats, or `sentences` for a file that its own reader knows."""
        suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
        if suffix not in (*READERS, *CONLL_SUFFIXES):
            lines = list(islice(iterate_lines(path), LINES_LOOKED_AT))
            reader = self.guess_reader(path, lines)
            if reader is None:
                return "text"
            logger.info("%s: its lines are %s.", path, "JSON" if reader is read_jsonl else "words with their tags")
        reader = find_reader(path, self.columns)
        if reader is read_jsonl:
            return "jsonl"
        return "table" if reader is read_table else "sentences"

    def guess_reader(self, path: Path, lines: Sequence[str]) -> Reader | None:
        """What reads a file whose name says nothing; None for raw text, of which a line may well be like markup."""
        try:
            reader = find_reader(path, self.columns) if lines else None
        except DataError:
            return None
        if reader is read_inline:
            tags = (word.rpartition(find_separator(lines) or " ")[2] for line in lines for word in line.split())
            return reader if any(tag in self.labels and tag != "O" for tag in tags) else None
        return reader if reader in UNMISTAKABLE or self.are_columns(lines) else None

    def are_columns(self, lines: Sequence[str]) -> bool:
        """Whether the lines of a file are words with further columns, not texts."""
        content = [line for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))]
        if content and has_table_header(content[0], self.columns):
            return True
        tabs = sum("\t" in line for line in content) * 2 >= len(content)
        rows = [line.split("\t") if tabs else line.split() for line in content]
        width = max((len(row) for row in rows), default=0)
        if width < 2 or any(len(row) != width for row in rows):
            return False
        labelled = sum(row[-1].strip() in self.labels for row in rows)
        return labelled >= LABEL_SHARE * len(rows) or (
            tabs and not any(" " in cell.strip() for row in rows for cell in (row[0], row[-1]))
        )

    def find_raw_table(self, path: Path) -> RowTable | None:
        """The rows of a table of raw texts; None where its cells hold words and tags, or one word each."""
        if Path(path.name.removesuffix(".gz")).suffix.lower() not in TABLE_SUFFIXES:
            return None
        table = read_row_file(path, delimiter=self.options.delimiter)
        column = self.text_column(table)
        if column is None:
            return None
        texts = [str(value) for value in table.columns[column][:LINES_LOOKED_AT]]
        if any(text.lstrip().startswith("[") for text in texts) or not any(" " in text.strip() for text in texts):
            return None
        return None if self._are_tagged(table, texts) else table

    def text_column(self, table: RowTable) -> str | None:
        """The column of raw texts: the one asked for, else one with a usual name."""
        if self.options.text_column_name in table.columns:
            return self.options.text_column_name
        by_lower = {name.strip().lower(): name for name in table.columns}
        return next((by_lower[name] for name in TEXT_COLUMNS if name in by_lower), None)

    def _are_tagged(self, table: RowTable, texts: Sequence[str]) -> bool:
        """Whether a column has a tag for every word of the texts."""
        counts = [len(text.split()) for text in texts]
        asked = self.options.label_column_name
        names = [name for name in table.columns if name == asked or name.strip().lower() in TAG_COLUMNS]
        return any([len(str(value).split()) for value in table.columns[name][: len(texts)]] == counts for name in names)

    def read_json(self, path: Path) -> Iterator[InputText]:
        """The records of a JSON file, one after the other; all that are wrong are named together."""
        problems: list[Problem] = []
        for value, line in iterate_json_values(path):
            try:
                text = read_record(value, line, path, self.columns)
            except DataError as error:
                problems += error.problems
                if len(problems) > MAX_LISTED:
                    break
                continue
            if not problems:
                yield text
        raise_problems(problems, path)


def read_record(value: Any, line: int, path: Path, columns: TagColumns) -> InputText:
    """One record as training reads it; an empty text is a text, and one that its annotator rejected has no gold tags.

    Raises:
        DataError: as `read_records`.
    """
    record = unwrap_record(value)
    if record is None:
        allowed = 'an object with "text" (a string) or "words" (a list of strings) is needed'
        raise DataError(Problem(f"{str(value)[:60]!r} holds nothing to predict", allowed, path=path, line=line))
    known = [name for name in (columns.words, *WORD_COLUMNS) if name in record]
    fields = {name: item for name, item in (value if isinstance(value, dict) else record).items() if name not in known}
    if known and not any(record[name] for name in known):
        return InputText("", [], path, line, fields, document=find_document(record))
    rejected = is_rejected(record)
    bare = {name: item for name, item in record.items() if name != "answer"}
    try:
        sentences = read_records([bare], [line], path, columns)
    except DataError as error:
        raise DataError(*(replace(problem, line=problem.line or line) for problem in error.problems)) from error
    words, tags = sentences.words[0], sentences.tags[0] if sentences.tags and not rejected else None
    text = sentences.texts[0] if sentences.texts else record.get("text")
    if not isinstance(text, str) or not holds_in_order(text, words):
        text = " ".join(words)
    return InputText(text, words, path, line, fields, gold=tags, document=find_document(record))


def find_document(record: Mapping[str, Any]) -> str | None:
    """What a record says of its document; None where it says nothing."""
    by_lower = {name.strip().lower(): record[name] for name in reversed(list(record))}
    value = next((by_lower[name] for name in DOCUMENT_COLUMNS if name in by_lower), None)
    return None if value is None else str(value).strip() or None


def give_sentences(sentences: Sentences, path: Path) -> Iterator[InputText]:
    """The sentences of a reader of training, with what it has to say."""
    for note in sentences.notes:
        logger.warning("%s", note)
    for remark in sentences.remarks:
        logger.info("%s", remark)
    for index, (words, line) in enumerate(zip(sentences.words, sentences.lines, strict=True)):
        text = sentences.texts[index] if sentences.texts else " ".join(words)
        gold = sentences.tags[index] if sentences.tags else None
        document = sentences.documents[index] if sentences.documents else None
        yield InputText(text, words, path, line, {}, gold=gold, document=document)


def read_raw_rows(table: RowTable, column: str) -> Iterator[InputText]:
    """A raw text a row, with its other cells beside it."""
    path = table.path or Path()
    logger.info("%s: raw text from %s; the other columns are kept beside the predictions.", path, column)
    others = {name: values for name, values in table.columns.items() if name != column}
    for row, (text, line) in enumerate(zip(table.columns[column], table.lines, strict=True)):
        fields = {name: values[row] for name, values in others.items()}
        yield InputText(str(text), None, path, line, fields, document=find_document(fields))
