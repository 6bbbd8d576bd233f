"""Thresholds of multi-label decisions: fitted on validation, applied to anything, never fitted on what is scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finetune.errors import DataError, Problem

GRID = np.arange(1, 100) / 100
DEFAULT = 0.5


class ThresholdScope(StrEnum):
    """Each label its own threshold, for the best micro-averaged or macro-averaged F1; one for all; or nothing is fitted."""

    PER_LABEL = "per_label"
    PER_LABEL_MACRO = "per_label_macro"
    GLOBAL = "global"
    FIXED = "fixed"


@dataclass(frozen=True)
class Thresholds:
    """One threshold per label, in the order of `labels`; `unfitted` names labels that validation had no example of."""

    labels: tuple[str, ...]
    values: tuple[float, ...]
    scope: ThresholdScope = ThresholdScope.FIXED
    unfitted: tuple[str, ...] = ()

    def decide(self, probabilities: ArrayLike) -> NDArray[np.bool_]:
        """0/1 decisions (examples, labels): a label is given where its probability is greater than its threshold."""
        return np.asarray(probabilities) > np.asarray(self.values)[None, :]

    def as_json(self) -> dict[str, Any]:
        return {"scope": str(self.scope), "thresholds": dict(zip(self.labels, self.values, strict=True))}


def fixed_thresholds(labels: Sequence[str], value: float = DEFAULT) -> Thresholds:
    """The same threshold for all labels, not fitted."""
    return Thresholds(tuple(labels), (value,) * len(labels))


def fit_thresholds(
    probabilities: ArrayLike, expected: ArrayLike, labels: Sequence[str], scope: ThresholdScope
) -> Thresholds:
    """The thresholds of 0.01, 0.02 ... 0.99 with the best F1, micro-averaged or (`per_label_macro`) of each label.

    The F1 of a label alone is often best where a label that the model has hardly learnt is given to nearly every text,
    which macro-averages reward; micro-averaged F1 and people do not. Of equally good thresholds the one nearest to 0.5 is
    taken. A label without a positive example keeps 0.5.

    Args:
        probabilities: (examples, labels), of validation.
        expected: 0/1, (examples, labels).
        labels: their names.
        scope: `fixed` fits nothing and gives 0.5.
    """
    if scope is ThresholdScope.FIXED:
        return fixed_thresholds(labels)
    probabilities, expected = np.asarray(probabilities), np.asarray(expected).astype(bool)
    correct, chosen = _count_decisions(probabilities, expected)
    support = expected.sum(axis=0)
    if scope is ThresholdScope.GLOBAL:
        scores = _f1(correct.sum(axis=1), chosen.sum(axis=1), support.sum())
        return Thresholds(tuple(labels), (float(GRID[_best(scores)]),) * len(labels), scope)
    together = scope is ThresholdScope.PER_LABEL
    best = _best_together(correct, chosen, support) if together else _best_alone(_f1(correct, chosen, support[None, :]))
    values = [float(GRID[index]) if count else DEFAULT for index, count in zip(best, support, strict=True)]
    unfitted = tuple(label for label, count in zip(labels, support, strict=True) if not count)
    return Thresholds(tuple(labels), tuple(values), scope, unfitted)


def thresholds_from_json(stored: Mapping[str, Any], labels: Sequence[str]) -> Thresholds:
    """Thresholds as `as_json` gave them, in the order of `labels`.

    Raises:
        DataError: they belong to another set of labels, or are not numbers between 0 and 1.
    """
    values = stored["thresholds"]
    problems = _label_set_problems(set(values), labels)
    problems += [
        Problem(f"the threshold of {label} is {value!r}", "numbers between 0 and 1 are allowed")
        for label, value in values.items()
        if not isinstance(value, int | float) or not 0 <= value <= 1
    ]
    if problems:
        raise DataError(*problems)
    ordered = tuple(float(values[label]) for label in labels)
    return Thresholds(tuple(labels), ordered, ThresholdScope(stored.get("scope", "fixed")))


def _label_set_problems(stored: set[str], labels: Sequence[str]) -> list[Problem]:
    unknown, missing = sorted(stored - set(labels)), sorted(set(labels) - stored)
    if not unknown and not missing:
        return []
    parts = [f"there is one for {', '.join(unknown)}, which the model does not have"] if unknown else []
    parts += [f"there is none for {', '.join(missing)}"] if missing else []
    found = f"the stored thresholds are of another label set: {' and '.join(parts)}"
    return [Problem(found, f"the model's labels are {', '.join(labels)}", "fit them again with --do_eval")]


def _count_decisions(
    probabilities: NDArray[np.float64], expected: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Right and all positive decisions for each threshold of the grid: two arrays (99, labels)."""
    correct = np.empty((len(GRID), expected.shape[1]), dtype=np.int64)
    chosen = np.empty_like(correct)
    for index, threshold in enumerate(GRID):
        decisions = probabilities > threshold
        chosen[index] = decisions.sum(axis=0)
        correct[index] = (decisions & expected).sum(axis=0)
    return correct, chosen


def _f1(correct: NDArray[Any], chosen: NDArray[Any], support: NDArray[Any]) -> NDArray[np.float64]:
    whole = chosen + support
    return np.divide(2 * correct, whole, out=np.zeros(np.shape(correct)), where=whole > 0)


def _best_together(correct: NDArray[Any], chosen: NDArray[Any], support: NDArray[Any]) -> list[int]:
    """Indices into the grid, one a label, with the best micro-averaged F1 of all combinations.

    2·Σcorrect / (Σchosen + Σsupport) is a ratio of sums over labels: where it is F at best, each label on its own has the
    largest 2·correct − F·chosen, and F found so rises until it is best (Dinkelbach 1967, Management Science 13(7)).
    """
    unseen, everywhere = support == 0, np.arange(correct.shape[1])
    chosen = np.where(unseen, chosen[np.searchsorted(GRID, DEFAULT)], chosen)  # they keep that threshold
    score, best = -1.0, [0] * correct.shape[1]
    while True:
        candidates = _best_alone(2 * correct - max(score, 0.0) * chosen)
        right, given = (counts[candidates, everywhere].sum() for counts in (correct, chosen))
        found = float(_f1(right, given, support.sum()))
        if found <= score:
            return best
        score, best = found, candidates


def _best_alone(scores: NDArray[Any]) -> list[int]:
    return [_best(scores[:, label]) for label in range(scores.shape[1])]


def _best(scores: NDArray[np.float64]) -> int:
    """Index into the grid of the best score; the nearest to 0.5 of equals."""
    candidates = np.flatnonzero(scores >= scores.max() - 1e-12)
    return int(candidates[np.argmin(np.abs(GRID[candidates] - DEFAULT))])
