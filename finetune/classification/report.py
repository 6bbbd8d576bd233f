"""The report of a text classifier: tables for a person, predictions as JSON lines for a program."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from pprint import pformat
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune.classification.column_choice import ProblemType
from finetune.classification.decisions import Decision
from finetune.classification.metrics import ConfidentError
from finetune.classification.summary import TextSummary
from finetune.report.files import REPORT, write_text
from finetune.report.tables import class_table, confusion_table

if TYPE_CHECKING:
    from datasets import Dataset

NAMES = {"train": "Train", "validation": "Val", "test": "Test"}
WIDEST_MATRIX = 12  # labels that fit side by side
LONGEST_TEXT = 90
DIGITS = 6


def format_result(split: str, summary: TextSummary) -> str:
    """The metrics and the table per class of one split."""
    number = int(summary.scores["nb_samples"])
    parts = [f"Processed: {number} / {number} [ {NAMES.get(split, split)} Result ]\n", pformat(summary.scores) + "\n"]
    if summary.classes:
        accuracy = summary.scores["accuracy"] if summary.confusion is not None else None
        parts.append(class_table(summary.classes, summary.averages, accuracy=accuracy))
    return "\n".join(parts)


def format_details(split: str, summary: TextSummary, labels: Sequence[str], rows: Dataset) -> str:
    """Confusions and the most confident errors of one split."""
    parts = []
    if summary.confusion is not None:
        parts.append(format_confusions(summary.confusion, labels))
    if summary.errors:
        parts.append(f"Most confident errors of {split} (row from 0, probability, predicted, expected, text):\n")
        parts.append("".join(format_errors(summary.errors, rows)))
    return "\n".join(parts)


def format_confusions(confusion: NDArray[np.int64], labels: Sequence[str]) -> str:
    """The whole matrix where it fits side by side, else the most frequent confusions."""
    if len(labels) > WIDEST_MATRIX:
        pairs = {
            (labels[row], labels[column]): int(confusion[row, column])
            for row, column in zip(*np.nonzero(confusion), strict=True)
        }
        ordered = dict(sorted(pairs.items(), key=lambda item: -item[1]))
        return f"Confusions (expected -> predicted):\n{confusion_table(ordered)}"
    names = [label if len(label) <= 14 else label[:13] + "…" for label in labels]
    width = max(7, *(len(name) for name in names))
    heading = " " * width + "".join(f" {name:>{width}}" for name in names)
    lines = [
        f"{name:>{width}}" + "".join(f" {count:>{width},}" for count in row)
        for name, row in zip(names, confusion, strict=True)
    ]
    return "\n".join(["Confusion matrix (rows: expected, columns: predicted):", heading, *lines, ""])


def format_errors(errors: Iterable[ConfidentError], rows: Dataset) -> Iterator[str]:
    for error in errors:
        row = rows[error.row]
        pair = f" | {_shorten(row['text_pair'])}" if "text_pair" in row else ""
        line = f" (line {row['line']})" if row["line"] else ""
        numbers = f"{error.row:>7}{line}  {error.probability:.4f}  {error.predicted}  {error.expected}"
        yield f"{numbers}  {_shorten(row['text'])}{pair}\n"


def _shorten(text: str) -> str:
    """A text on one line, cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def format_decision(decision: Decision) -> str:
    """What was fitted on validation; empty where nothing was."""
    lines = []
    if decision.temperature != 1.0:
        lines.append(f"Temperature of the probabilities, fitted on validation: {decision.temperature:.4f}\n")
    if decision.problem_type is ProblemType.MULTI:
        thresholds = decision.thresholds
        width = max(len(label) for label in thresholds.labels)
        lines.append(f"Thresholds ({thresholds.scope}):\n")
        lines += [
            f"{label:>{width}} {value:.2f}{'  (validation has no example: 0.5)' if label in thresholds.unfitted else ''}\n"
            for label, value in zip(thresholds.labels, thresholds.values, strict=True)
        ]
    return "".join(lines)


def warn_of_fitting(decision: Decision) -> list[str]:
    """That metrics of validation are of the very rows that temperature and thresholds were fitted on."""
    fitted = ["the temperature (ece)"] if decision.temperature != 1.0 else []
    if decision.problem_type is ProblemType.MULTI and decision.thresholds.scope != "fixed":
        fitted.append("the thresholds (f1, precision, recall)")
    if not fitted:
        return []
    return [
        f"Validation is what {' and '.join(fitted)} were fitted on: there these metrics flatter, on test they do not."
    ]


def write_report(folder: Path, parts: Sequence[str], *, notes: Sequence[str] = ()) -> Path:
    """Write report.txt: the parts, then notes (sentences with counts)."""
    remarks = ["Notes:\n" + "".join(f"- {note}\n" for note in notes)] if notes else []
    return write_text(folder / REPORT, "\n".join(part for part in [*parts, *remarks] if part))


def write_predictions(
    folder: Path, split: str, rows: Dataset, outputs: NDArray[Any], decision: Decision, labels: Sequence[str]
) -> Path:
    """Write predictions.<split>.jsonl: one object per text, in the order of the split.

    Keys: row (from 0), line in the file where it is known, text, text_pair; expected, where it is labelled; predicted
    (a label, a list of labels, or a number), and the probability of each label.
    """
    lines = (
        json.dumps({**described, **answer}, ensure_ascii=False) + "\n"
        for described, answer in zip(_describe_rows(rows), describe_outputs(outputs, decision, labels), strict=True)
    )
    return write_text(folder / f"predictions.{split}.jsonl", "".join(lines))


def _describe_rows(rows: Dataset) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows.with_format(None).to_list()):
        described = {"row": number} | ({"line": row["line"]} if row["line"] else {}) | {"text": row["text"]}
        described |= {"text_pair": row["text_pair"]} if "text_pair" in row else {}
        yield described | ({"expected": row["label"]} if "label" in row else {})


def describe_outputs(outputs: NDArray[Any], decision: Decision, labels: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """For each text what is predicted, and the probability of each label."""
    chosen, probabilities = decision.decide(outputs), decision.probabilities(outputs)
    if decision.problem_type is ProblemType.REGRESSION:
        yield from ({"predicted": float(value)} for value in chosen)
        return
    for choice, row in zip(chosen, probabilities, strict=True):
        is_single = decision.problem_type is ProblemType.SINGLE
        names = labels[int(choice)] if is_single else [labels[index] for index in np.flatnonzero(choice).tolist()]
        rounded = {label: round(float(value), DIGITS) for label, value in zip(labels, row, strict=True)}
        yield {"predicted": names, "probabilities": rounded}
