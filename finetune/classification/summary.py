"""Everything that a report says of one split: scores, a row per class, confusions, the surest errors, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.classification.column_choice import ProblemType
from finetune.classification.decisions import Decision, Scoring, score_calibration
from finetune.classification.metrics import ConfidentError, confusion_matrix, find_confident_errors, score_classes
from finetune.report.class_scores import ClassScore

Array = NDArray[Any]


@dataclass(frozen=True)
class TextSummary:
    """The scores of one split. `confusion` (labels, labels) has references in its rows; only for single labels."""

    scores: dict[str, float]
    classes: list[ClassScore] = field(default_factory=list)
    averages: list[ClassScore] = field(default_factory=list)
    confusion: NDArray[np.int64] | None = None
    errors: list[ConfidentError] = field(default_factory=list)


def summarise_texts(
    outputs: Array, expected: Array, decision: Decision, scoring: Scoring, labels: Sequence[str], *, listed_errors: int
) -> TextSummary:
    """Score the outputs (texts, labels) of a split against its references."""
    chosen = decision.decide(outputs)
    scores = scoring.score(chosen, expected) | score_calibration(outputs, expected, decision)
    if decision.problem_type is ProblemType.REGRESSION:
        return TextSummary(scores)
    if decision.problem_type is ProblemType.MULTI:
        scores["nb_without_label"] = int((~chosen.any(axis=1)).sum())
    classes = score_classes(chosen, expected, labels)
    is_single = decision.problem_type is ProblemType.SINGLE
    return TextSummary(
        scores,
        classes,
        average_classes(classes, scores, with_micro=not is_single),
        confusion_matrix(chosen, expected, len(labels)) if is_single else None,
        find_confident_errors(decision.probabilities(outputs), chosen, expected, labels, listed_errors),
    )


def average_classes(classes: Sequence[ClassScore], scores: dict[str, float], *, with_micro: bool) -> list[ClassScore]:
    """The rows under the table: micro (of several labels), macro over all classes, weighted by support."""
    support = np.array([row.support for row in classes])
    table = np.array([[row.precision, row.recall, row.f1] for row in classes])  # (labels, 3)
    total = int(support.sum())
    weights = support / total if total else np.zeros(len(classes))
    micro = ClassScore("micro avg", scores["precision_micro"], scores["recall_micro"], scores["f1_micro"], total)
    means, weighted_means = table.mean(axis=0), weights @ table  # (precision recall f1,)
    macro = ClassScore("macro avg", float(means[0]), float(means[1]), float(means[2]), total)
    weighted = ClassScore(
        "weighted avg", float(weighted_means[0]), float(weighted_means[1]), float(weighted_means[2]), total
    )
    return [micro, macro, weighted] if with_micro else [macro, weighted]
