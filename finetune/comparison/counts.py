"""What each example adds to a score: counts whose sums over examples determine accuracy, F1, or an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from finetune.comparison.statistics import Array, Score
from finetune.encoding.tags import TagScheme
from finetune.page.classified import Row, as_set
from finetune.page.tagged import Sentence, mark
from finetune.tagging.metrics import compare_tags

SMALLEST = 1e-300


@dataclass(frozen=True)
class Measure:
    """A score by its counts (examples, counts); `lower_is_better` of errors."""

    name: str
    counts: Array
    score: Score
    lower_is_better: bool = False


def micro_f1(sums: Array) -> Array:
    """F1 of (right, predicted, expected)."""
    return 2 * sums[:, 0] / np.maximum(sums[:, 1] + sums[:, 2], SMALLEST)


def macro_f1(sums: Array) -> Array:
    """The mean over classes; a class that neither side has counts as 0, as the reports do."""
    right, predicted, expected = np.split(sums, 3, axis=1)
    return (2 * right / np.maximum(predicted + expected, SMALLEST)).mean(axis=1)


def mean(sums: Array) -> Array:
    """The first sum by the second."""
    return sums[:, 0] / np.maximum(sums[:, 1], SMALLEST)


def measure_tags(sentences: Sequence[Sentence], scheme: TagScheme) -> list[Measure]:
    """Micro F1 of entities where tags spell spans, and the accuracy of tags."""
    words = [[sum(a == b for a, b in zip(gold, said, strict=True)), len(gold)] for _, gold, said in sentences]
    accuracy = Measure("accuracy", np.array(words, dtype=np.float64), mean)
    if scheme is TagScheme.POS:
        return [accuracy]
    _, expected, predicted = zip(*sentences, strict=True)
    gold, said = mark(compare_tags(predicted, expected, scheme))
    rows = [
        [sum(right for *_, right in there), len(there), len(wanted)]
        for wanted, there in zip(gold.spans, said.spans, strict=True)
    ]
    return [Measure("f1_micro", np.array(rows, dtype=np.float64), micro_f1), accuracy]


def measure_texts(rows: Sequence[Row]) -> list[Measure]:
    """Accuracy (of whole sets, where texts have several labels), F1 over labels, or errors of values."""
    if "probabilities" not in rows[0]:
        return _measure_values(rows)
    labels = list(rows[0]["probabilities"])
    sides = [(as_set(row["expected"]), as_set(row["predicted"])) for row in rows]
    right = Measure("accuracy", np.array([[a == b, 1] for a, b in sides], dtype=np.float64), mean)
    counts = [[*_flags(a & b, labels), *_flags(b, labels), *_flags(a, labels)] for a, b in sides]
    macro = Measure("f1_macro", np.array(counts, dtype=np.float64), macro_f1)
    if not isinstance(rows[0]["expected"], list):
        return [right, macro]
    micro = Measure("f1_micro", np.array([[len(a & b), len(b), len(a)] for a, b in sides], dtype=np.float64), micro_f1)
    return [micro, macro, right]


def _flags(there: set[str], labels: Sequence[str]) -> list[bool]:
    return [label in there for label in labels]


def _measure_values(rows: Sequence[Row]) -> list[Measure]:
    pairs = np.array([[float(row["predicted"]), float(row["expected"])] for row in rows])
    x, y = pairs.T
    errors = np.stack([np.abs(x - y), np.ones(len(x))], axis=1)
    sums = np.stack([x, y, x * y, x * x, y * y, np.ones(len(x))], axis=1)
    return [Measure("pearson", sums, pearson), Measure("mean_absolute_error", errors, mean, lower_is_better=True)]


def pearson(sums: Array) -> Array:
    """The correlation from sums of x, y, xy, xx, yy and 1; 0 where one side does not vary."""
    x, y, xy, xx, yy, number = sums.T
    spread = np.maximum(number * xx - x * x, 0) * np.maximum(number * yy - y * y, 0)
    return np.where(spread > 0, (number * xy - x * y) / np.sqrt(np.maximum(spread, SMALLEST)), 0.0)


def describe_example(example: Any) -> tuple[Any, ...]:
    """What must be the same in two runs for their answers to be comparable: the input and its gold labels."""
    if isinstance(example, tuple):
        return tuple(example[0]), tuple(example[1])
    expected = example["expected"]
    return example["text"], example.get("text_pair"), tuple(expected) if isinstance(expected, list) else expected
