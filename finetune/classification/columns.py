"""Columns of any name -> the canonical columns of a classification corpus: text, perhaps text_pair, label, line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.classification.column_choice import ColumnChoice, ProblemType, column_values, has_column
from finetune.classification.label_values import is_missing, is_missing_number, is_number, read_flag
from finetune.data.files import MAX_LISTED, listed, raise_problems
from finetune.data.row_files import RowTable
from finetune.errors import DataError, Problem

if TYPE_CHECKING:
    from datasets import Dataset

UNLABELLED = (None, "", -1, "-1")  # -1 is what the hub writes into test sets without public labels


class TableReading:
    """Reads one table into canonical columns; `problems` and `notes` gather what is wrong and what is unusual."""

    def __init__(
        self,
        table: RowTable,
        choice: ColumnChoice,
        split: str,
        *,
        classes: frozenset[str] = frozenset(),
        streamed: bool = False,
    ) -> None:
        """`classes` are those of train, which tell a class -1 from rows without a label; of rows that are `streamed`, one
        that is empty or a number says nothing of its column.
        """
        self.streamed = streamed
        self.table, self.choice, self.split = table, choice, split
        self.classes = classes
        self.problems: list[Problem] = []
        self.notes = list(table.notes)

    def read(self, problem_type: ProblemType, *, needs_label: bool) -> Dataset:
        """The rows with their canonical columns; without `label` where a split that needs none has none.

        Raises:
            DataError: texts that are none, rows without a label, numbers that are none; each with its line.
        """
        import pyarrow as pa  # what is predicted is read without them
        from datasets import Dataset

        kinds = {ProblemType.REGRESSION: pa.float64(), ProblemType.MULTI: pa.list_(pa.string())}
        types = {"label": kinds.get(problem_type, pa.string()), "line": pa.int64()}
        columns = self.read_columns(problem_type, needs_label=needs_label)
        return Dataset(pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()}))

    def read_columns(self, problem_type: ProblemType, *, needs_label: bool) -> dict[str, list[Any]]:
        """As `read`, in lists by the name of their column."""
        columns: dict[str, list[Any]] = {"text": self._texts(self.choice.text)}
        if self.choice.text_pair:
            columns["text_pair"] = self._texts((self.choice.text_pair,))
        labels = self._labels(problem_type, needs_label=needs_label)
        if self.problems:
            hidden = len(self.problems) - MAX_LISTED
            more = [Problem(f"{hidden:,} more problems of the same kind are not listed", path=self.table.path)]
            raise DataError(*self.problems[:MAX_LISTED], *(more if hidden > 0 else []))
        if labels is not None:
            columns["label"] = labels
        columns["line"] = list(self.table.lines)
        return columns

    def read_labels(self, problem_type: ProblemType) -> list[Any]:
        """The labels alone, where every row has one: names, lists of names, or numbers.

        Raises:
            DataError: labels that are none, each with its line.
        """
        labels = self._labels(problem_type, needs_label=True)
        raise_problems(self.problems, self.table.path or Path())
        return labels or []

    def _complain(self, row: int, found: str, allowed: str = "", remedy: str = "") -> None:
        place = self.table.place(row)
        where = "" if place["line"] else f"row {row + 1:,} of {self.split}: "
        self.problems.append(Problem(where + found, allowed, remedy, **place))

    def _texts(self, names: Sequence[str]) -> list[str]:
        columns = [self._one_text(name) for name in names]
        return (
            columns[0] if len(columns) == 1 else [self.choice.join.join(texts) for texts in zip(*columns, strict=True)]
        )

    def _one_text(self, name: str) -> list[str]:
        values = column_values(self.table, name)
        texts = [value for value in values if isinstance(value, str) and value.strip()]
        if not self.streamed and (not texts or all(map(is_number, texts))):
            kind = "only numbers" if any(map(is_number, values)) else "nothing"
            there = f"the columns are {listed(list(self.table.columns))}"
            found = f"the text column {name!r} of {self.split} holds {kind}"
            self.problems.append(Problem(found, there, "choose another with --text_column", self.table.path))
            return ["" for _ in values]
        for row, value in enumerate(values):
            if not isinstance(value, str):
                self._complain(row, f"{name} holds {_shown(value)} instead of a text")
        empty = sum(isinstance(value, str) and not value.strip() for value in values)
        if empty and not self.streamed:
            self.notes.append(
                f"{self.split}: {empty:,} of {len(values):,} rows have an empty text in {name}; they are kept."
            )
        self.notes += self._missing_texts(name, texts)
        return [value if isinstance(value, str) else "" for value in values]

    def _missing_texts(self, name: str, texts: Sequence[str]) -> list[str]:
        """A note of texts that are what pandas and spreadsheets write for an empty cell."""
        words = Counter(text.strip() for text in texts if is_missing_number(text))
        if not words:
            return []
        shown = listed([f"{word!r} ({count:,})" for word, count in words.items()])
        return [f"{self.split}: {name} holds {shown}, which may stand for empty cells; they are read as texts."]

    def _labels(self, problem_type: ProblemType, *, needs_label: bool) -> list[Any] | None:
        """The labels in their canonical form; None where no row has one and none is needed."""
        choice = self.choice
        if not choice.label or not all(has_column(self.table, name) for name in choice.label):
            return None
        columns = [column_values(self.table, name) for name in choice.label]
        if not needs_label and all(is_unlabelled(value, self.classes) for values in columns for value in values):
            return None
        if problem_type is ProblemType.REGRESSION:
            return [self._number(row, value) for row, value in enumerate(columns[0])]
        if problem_type is ProblemType.MULTI:
            rows = self._flags(columns) if len(columns) > 1 else self._lists(columns[0])
            return self._several(list(rows))
        return [self._name(row, value) for row, value in enumerate(columns[0])]

    def _several(self, rows: list[list[str]]) -> list[list[str]]:
        bare = sum(not labels for labels in rows)
        if bare:
            self.notes.append(f"{self.split}: {bare:,} of {len(rows):,} rows have none of the labels; they are kept.")
        return rows

    def _name(self, row: int, value: object, column: str | None = None) -> str:
        """A label as a name: declared names for class ids, the text of anything else."""
        names = self.table.label_names.get(column or self.choice.label[0])
        if is_missing(value):
            self._complain(row, "the row has no label", "", "label it, or leave it out")
        elif isinstance(value, list | dict):
            self._complain(row, f"the label is {_shown(value)}", "one label is expected, as in the other rows")
        elif names is not None and isinstance(value, int):
            if 0 <= value < len(names):
                return names[value]
            self._complain(row, f"the class id is {value}", f"0 to {len(names) - 1} are declared: {listed(names)}")
        return str(value)

    def _number(self, row: int, value: Any) -> float:
        if is_number(value) and abs(float(value)) != float("inf") and float(value) == float(value):
            return float(value)
        self._complain(row, f"the label is {_shown(value)}", "a number is expected (--do_regression)")
        return 0.0

    def _lists(self, values: list[Any]) -> Iterator[list[str]]:
        for row, value in enumerate(values):
            if isinstance(value, str) and self.choice.label_delimiter:
                value = [part.strip() for part in value.split(self.choice.label_delimiter) if part.strip()]
            if value is None or not isinstance(value, list):
                self._complain(row, f"the labels are {_shown(value)}", "a list is expected, which may be empty")
                value = []
            yield list(dict.fromkeys(self._name(row, item) for item in value))

    def _flags(self, columns: Sequence[list[Any]]) -> Iterator[list[str]]:
        for row, cells in enumerate(zip(*columns, strict=True)):
            flags = [read_flag(cell) for cell in cells]
            for name, flag, cell in zip(self.choice.label, flags, cells, strict=True):
                if flag is None:
                    self._complain(
                        row, f"{name} is {_shown(cell)}", "0 or 1 (or True, False) is expected in each label column"
                    )
            yield [name for name, flag in zip(self.choice.label, flags, strict=True) if flag]


def is_unlabelled(value: object, classes: Collection[str] = ()) -> bool:
    """Whether a cell stands for no label: it is empty, or -1 where that is none of the `classes`."""
    if isinstance(value, list):
        return False
    return is_missing(value) or (value in UNLABELLED and str(value) not in classes)


def _shown(value: object) -> str:
    text = "nothing" if value is None or value == "" else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def sort_labels(labels: Iterable[str]) -> list[str]:
    """Distinct labels in order: by value if all are whole numbers, else by name."""
    distinct = set(labels)
    whole = all(label.lstrip("-").isdecimal() for label in distinct)
    return sorted(distinct, key=int) if whole and distinct else sorted(distinct)
