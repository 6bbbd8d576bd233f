"""The page of a text classifier: classes, confusions, calibration, and the errors that it was surest of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.data.json_values import parse_json
from finetune.errors import DataError, Problem
from finetune.page.calibration import draw_calibration
from finetune.page.folder import RunFolder, judged_split, read_lines
from finetune.page.parts import Block, Example, Examples, Section, Segment, Sentences
from finetune.page.plots import MUTED, SERIES, draw
from finetune.page.scores import show_classes, show_confusions
from finetune.report.calibration import count_bins
from finetune.report.class_scores import ClassScore

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORST, LONGEST_TEXT = 25, 1500
Row = dict[str, Any]


def read_classified(path: Path) -> list[Row]:
    """The rows of a predictions file; those without a label are left out.

    Raises:
        DataError: the file cannot be read, or a line is no answer to a text.
    """
    numbered = [(number, line) for number, line in enumerate(read_lines(path), start=1) if line]
    rows = [(number, _read_row(line, path, number)) for number, line in numbered]
    answered = [(number, row) for number, row in rows if row.get("expected") is not None]
    first = answered[0][1].get("probabilities") if answered else None
    labels = list(first) if isinstance(first, dict) else []
    for number, row in answered:
        if found := _find_fault(row, labels):
            raise DataError(Problem(found, "predict the texts again", path=path, line=number))
    return [row for _, row in answered]


def _read_row(line: str, path: Path, number: int) -> Row:
    try:
        row = parse_json(line)
    except ValueError as error:
        raise DataError(Problem(f"the line is no JSON ({error})", path=path, line=number)) from error
    if not isinstance(row, dict):
        raise DataError(Problem("the line is no JSON object", path=path, line=number))
    return row


def _find_fault(row: Row, labels: Sequence[str]) -> str:
    """Why a row is no answer to a text; nothing where it is one. `labels` are those of the first row's probabilities."""
    if not isinstance(row.get("row"), int) or not isinstance(row.get("text"), str):
        return "the row lacks its number or its text"
    kinds: Any = str | list if labels else int | float
    if any(not isinstance(row.get(name), kinds) or isinstance(row[name], bool) for name in ("expected", "predicted")):
        return f"expected and predicted are no {'labels' if labels else 'numbers'}"
    if type(row["expected"]) is not type(row["predicted"]) and labels:
        return "expected is one label and predicted several, or the other way round"
    found = row.get("probabilities", {})
    if not isinstance(found, dict) or set(found) != set(labels):
        return "the row has not the probabilities of the labels that the first one has"
    return "" if all(_is_finite(value) for value in found.values()) else "a probability is no number"


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def make_classified(folder: RunFolder) -> list[Section]:
    """The sections that only text classifiers have."""
    files = folder.predictions("jsonl")
    split = judged_split({name: None for name in files if name in folder.metrics})
    rows = read_classified(files[split]) if split else []
    if split is None or not rows:
        return []
    if "probabilities" not in rows[0]:
        return [show_values(split, rows), show_far_values(split, rows)]
    labels = list(rows[0]["probabilities"])
    errors = Section("errors", f"Confusions ({split})", _confusions(rows, labels))
    calibration = Section("calibration", f"Calibration ({split})", [draw_calibration(count_bins(*confidences(rows)))])
    return [show_classes(split, score_rows(rows, labels)), errors, calibration, show_surest(split, rows)]


def as_set(value: Any) -> set[str]:
    """The labels of a text, one or several."""
    return set(map(str, value)) if isinstance(value, list) else {str(value)}


def score_rows(rows: Sequence[Row], labels: Sequence[str]) -> list[ClassScore]:
    """Precision, recall and F1 of each label."""
    right, predicted, expected = Counter[str](), Counter[str](), Counter[str]()
    for row in rows:
        there, said = as_set(row["expected"]), as_set(row["predicted"])
        right.update(there & said)
        predicted.update(said)
        expected.update(there)
    return [_class_score(label, right[label], predicted[label], expected[label]) for label in labels]


def _class_score(label: str, right: int, predicted: int, expected: int) -> ClassScore:
    precision, recall = (right / number if number else 0.0 for number in (predicted, expected))
    return ClassScore(label, precision, recall, 2 * right / (predicted + expected or 1), expected)


def _confusions(rows: Sequence[Row], labels: Sequence[str]) -> list[Block]:
    if isinstance(rows[0]["predicted"], list):
        return []  # several labels a text: no label is taken for another
    pairs = Counter((str(row["expected"]), str(row["predicted"])) for row in rows)
    return show_confusions(pairs, labels, "Texts")


def confidences(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and whether each came true: of the likeliest label, of every label where there are several."""
    found: list[tuple[float, bool]] = []
    for row in rows:
        there, probabilities = as_set(row["expected"]), row["probabilities"]
        likeliest = [max(probabilities, key=probabilities.__getitem__)]
        names = probabilities if isinstance(row["expected"], list) else likeliest
        found += [(probabilities[name], name in there) for name in names]
    return np.array([value for value, _ in found]), np.array([came for _, came in found], dtype=float)


def show_surest(split: str, rows: Sequence[Row]) -> Section:
    """Wrong texts, those first whose wrong decision was surest."""
    section = Section("worst", f"Surest errors ({split})")
    wrong = [row for row in rows if as_set(row["expected"]) != as_set(row["predicted"])]
    wrong.sort(key=lambda row: -_sureness(row))
    said = f"{len(wrong):,} of {len(rows):,} texts are wrong" + ("; these were the surest." if wrong else ".")
    section.blocks.append(Sentences([said]))
    section.blocks.append(Examples([_example(row) for row in wrong[:WORST]]))
    return section


def _sureness(row: Row) -> float:
    there, said, probabilities = as_set(row["expected"]), as_set(row["predicted"]), row["probabilities"]
    sure = [probabilities[name] for name in said - there if name in probabilities]
    if isinstance(row["predicted"], list):
        sure += [1 - probabilities[name] for name in there - said if name in probabilities]
    return max(sure, default=0.0)


def _example(row: Row) -> Example:
    sides = {"expected": as_set(row["predicted"]), "predicted": as_set(row["expected"])}
    lines = [*show_texts(row), *((name, show_labels(row, name, others)) for name, others in sides.items())]
    line = f", line {row['line']:,}" if row.get("line") else ""
    return Example(f"Row {row['row']:,}{line}", lines)


def show_texts(row: Row) -> list[tuple[str, list[Segment]]]:
    texts = {"text": row["text"], "second text": row.get("text_pair")}
    return [(name, [Segment(_cut(text))]) for name, text in texts.items() if text is not None]


def show_labels(row: Row, name: str, others: set[str]) -> list[Segment]:
    """The labels under `name` with their probabilities; right are those that are among `others`."""
    probabilities = row.get("probabilities", {})
    segments = []
    for label in sorted(as_set(row[name])):
        shown = f"{label} ({probabilities[label]:.3f})" if label in probabilities else label
        segments += [Segment(shown, " ", label in others), Segment(" ")]
    return segments or [Segment("no label")]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def show_values(split: str, rows: Sequence[Row]) -> Section:
    """Predicted against expected values of a regression."""
    expected, predicted = [float(row["expected"]) for row in rows], [float(row["predicted"]) for row in rows]

    def paint(axes: Axes) -> None:
        low, high = min(*expected, *predicted), max(*expected, *predicted)
        axes.plot([low, high], [low, high], color=MUTED, linestyle=":")
        axes.scatter(expected[:2000], predicted[:2000], s=10, color=SERIES[0], alpha=0.5, linewidths=0)
        axes.set(xlabel="expected", ylabel="predicted")

    error = sum(abs(a - b) for a, b in zip(expected, predicted, strict=True)) / len(rows)
    said = f"Predicted against expected values of {len(rows):,} texts; the mean absolute error is {error:.4g}."
    return Section("values", f"Values ({split})", [draw("values", "Predicted by expected value", said, paint)])


def show_far_values(split: str, rows: Sequence[Row]) -> Section:
    """The texts whose value is farthest off."""
    far = sorted(rows, key=lambda row: -abs(float(row["expected"]) - float(row["predicted"])))[:WORST]
    return Section("worst", f"Farthest values ({split})", [Examples([_value_example(row) for row in far])])


def _value_example(row: Row) -> Example:
    values = [(name, [Segment(f"{float(row[name]):.4g}")]) for name in ("expected", "predicted")]
    return Example(f"Row {row['row']:,}", [*show_texts(row), *values])
