"""Files of texts to classify -> inputs, by the readers of training: rows of tables and JSON, or one text a line."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from finetune.arguments.prediction import PredictArguments
from finetune.classification.arguments import split_names
from finetune.classification.column_choice import ColumnChoice, ProblemType, choose_columns, column_values, has_column
from finetune.classification.columns import TableReading, is_unlabelled
from finetune.data.fasttext import LINES_LOOKED_AT, is_fasttext
from finetune.data.files import iterate_lines
from finetune.data.prediction_input import (
    LINE_FORMATS,
    InputText,
    iterate_json_values,
    read_inputs,
    read_line_file,
)
from finetune.data.row_files import RowTable, read_row_file
from finetune.errors import DataError, Problem, UsageError
from finetune.models.settings import ClassifierSettings

logger = logging.getLogger(__name__)

JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
ROW_SUFFIXES = (*JSON_SUFFIXES, ".csv", ".tsv", ".parquet", ".xlsx")
ROWS_AT_ONCE = 10_000  # of JSON, so that a file of any length needs little memory
PAIR_FIELD = "text_pair"


@dataclass
class ClassificationInputs:
    """Reads what is to be classified. `settings` are those that the model was saved with."""

    options: PredictArguments
    settings: ClassifierSettings
    labels: Sequence[str]

    def read(self, *, flag: str = "--input_file") -> Iterator[InputText]:
        """Every text of the files or of standard input.

        Raises:
            DataError: as the readers of training; a column that is not there; texts that are none.
        """
        if self.options.input_format in ("conll", "conllu"):
            found = (
                f"--input_format {self.options.input_format} is for words with tags, and this model classifies texts"
            )
            raise UsageError(Problem(found, remedy="give texts, a table or JSON"))
        options = self.options
        return read_inputs(
            options.input_file, options.input_format, self.read_file, flag=flag, read_records=self.read_stream
        )

    def read_stream(self, values: Iterator[tuple[Any, int]], path: Path) -> Iterator[InputText]:
        """Records as they come, read by the columns of the first; the first that is wrong ends the stream."""
        choice = None
        for value, line in values:
            table = table_of_records([value], [line], path)
            choice = choice or self.choose(table)
            for name in (*choice.text, *filter(None, (choice.text_pair,))):
                table.columns.setdefault(name, [None])
            yield from self.read_rows(table, choice, streamed=True)

    def read_file(self, path: Path, kind: str) -> Iterator[InputText]:
        """The texts of one file."""
        suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
        if kind == "auto" and suffix not in ROW_SUFFIXES:
            suffix = guess_suffix(path)
        if kind in LINE_FORMATS or (kind == "auto" and not suffix):
            self._tell_tabs(path)
            yield from read_line_file(path, "text" if kind == "auto" else kind)
            return
        choice = None
        for table in self.read_tables(path, suffix):
            choice = choice or self.choose(table)
            yield from self.read_rows(table, choice)

    def read_tables(self, path: Path, suffix: str) -> Iterator[RowTable]:
        """The rows of a file; of JSON lines some at a time."""
        if suffix in JSON_SUFFIXES and is_json_of_objects(path):
            values = iterate_json_values(path)
            while records := list(islice(values, ROWS_AT_ONCE)):
                yield table_of_records([record for record, _ in records], [line for _, line in records], path)
            return
        names = split_names(self.options.column_names)
        yield read_row_file(path, column_names=names, delimiter=self.options.delimiter)

    def choose(self, table: RowTable) -> ColumnChoice:
        """The columns that were asked for, else those of training where the file has them, else usual ones.

        Raises:
            DataError: a column is not there, none can be chosen, or the model reads pairs and there are none.
        """
        asked, saved = self.options, self.settings
        trained = all(has_column(table, name) for name in saved.text_columns)
        text = split_names(asked.text_column_name) or (tuple(saved.text_columns) if trained else ())
        pair = asked.text_pair_column or (saved.text_pair_column if trained and not asked.text_column_name else None)
        label = split_names(asked.label_column_name) or tuple(
            name for name in saved.label_columns if has_column(table, name)
        )
        wanted = ColumnChoice(text, pair, label, saved.text_column_delimiter, saved.label_delimiter)
        choice, remarks = choose_columns(table, wanted, needs_label=bool(asked.label_column_name))
        for remark in remarks:
            logger.info("%s", remark)
        if choice.text_pair and not saved.pairs and not asked.text_pair_column:
            found = (
                f"two columns of text are found, {choice.text[0]} and {choice.text_pair}, and the model reads one text"
            )
            raise DataError(Problem(found, "", "name it with --text_column_name", table.path))
        return choice

    def read_rows(self, table: RowTable, choice: ColumnChoice, *, streamed: bool = False) -> Iterator[InputText]:
        """The rows of a table with their other cells beside them."""
        reading = TableReading(table, replace(choice, label=()), "the input", streamed=streamed)
        rows = reading.read_columns(ProblemType.SINGLE, needs_label=False)
        for note in reading.notes:
            logger.warning("%s", note)
        used = {*choice.text, choice.text_pair}
        others = {name: values for name, values in table.columns.items() if name not in used}
        seconds = rows["text_pair"] if choice.text_pair else None
        gold = self.read_gold(table, choice)
        for row, text in enumerate(rows["text"]):
            fields = {name: values[row] for name, values in others.items()}
            fields |= {} if seconds is None else {PAIR_FIELD: seconds[row]}
            yield InputText(text, None, table.path or Path(), table.lines[row], fields, gold=gold[row])

    def read_gold(self, table: RowTable, choice: ColumnChoice) -> list[Any]:
        """The right answer of each row, as training reads it; None where it has none.

        Raises:
            DataError: with `--score` or a named column, what is there cannot be read as the answers of this model.
        """
        nothing: list[Any] = [None] * len(table)
        if not choice.label or not all(has_column(table, name) for name in choice.label):
            return nothing
        columns = [column_values(table, name) for name in choice.label]
        real = {str(label) for label in self.labels}
        answered = [
            row
            for row in range(len(table))
            if not all(is_unlabelled(values[row]) and str(values[row]) not in real for values in columns)
        ]
        part = take_rows(table, answered)
        try:
            golds = TableReading(part, replace(choice, text_pair=None), "the input").read_labels(
                ProblemType(self.settings.problem_type)
            )
        except DataError:
            if self.options.score or self.options.label_column_name:
                raise
            logger.warning(
                "%s: %s holds no answers of this model; they are kept as they are.", table.path, choice.label
            )
            return nothing
        for row, gold in zip(answered, golds, strict=True):
            nothing[row] = gold
        return nothing

    def _tell_tabs(self, path: Path) -> None:
        """A table that is not called one is read line by line; that is said."""
        first = next(iter(iterate_lines(path)), "")
        if "\t" in first and not self.settings.pairs:
            logger.warning(
                "%s: its first line holds tabs, and each line is read as one text; a table has to be called .tsv or .csv.",
                path,
            )


def guess_suffix(path: Path) -> str:
    """What a file is whose name says nothing: `.jsonl`, `.fasttext`, or empty for texts, one a line."""
    lines = list(islice(iterate_lines(path), LINES_LOOKED_AT))
    first = next((line for line in lines if line.strip()), "")
    if first.startswith(("{", "[{")):
        with suppress(DataError):  # no JSON: a text that begins with a bracket
            if is_json_of_objects(path):
                logger.info("%s: its lines are JSON.", path)
                return JSON_SUFFIXES[0]
    return ".fasttext" if is_fasttext(lines) else ""


def is_json_of_objects(path: Path) -> bool:
    """Whether a file is JSON lines of plain objects, or a list of them; other shapes need their reader."""
    first = next(iter(iterate_json_values(path)), None)
    return first is not None and isinstance(first[0], dict) and not isinstance(first[0].get("data"), dict | list)


def table_of_records(records: Sequence[Any], lines: Sequence[int], path: Path) -> RowTable:
    """Records as columns; one that lacks a field has None there.

    Raises:
        DataError: each value that is no object.
    """
    problems = [
        Problem("this is no JSON object", 'one like {"text": ...} is allowed', "", path, line)
        for record, line in zip(records, lines, strict=True)
        if not isinstance(record, dict)
    ]
    if problems:
        raise DataError(*problems)
    names = dict.fromkeys(name for record in records for name in record)
    return RowTable({name: [record.get(name) for record in records] for name in names}, list(lines), path)


def take_rows(table: RowTable, rows: Sequence[int]) -> RowTable:
    """Some rows of a table."""
    columns = {name: [values[row] for row in rows] for name, values in table.columns.items()}
    return replace(table, columns=columns, lines=[table.lines[row] for row in rows], notes=[])
