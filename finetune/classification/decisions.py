"""Outputs of a text classifier -> probabilities, decisions and scores, for all three kinds of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.classification.calibration import expected_calibration_error, fit_temperature
from finetune.classification.column_choice import ProblemType
from finetune.classification.glue.metrics import score_glue
from finetune.classification.metrics import score_multiclass, score_multilabel, score_regression
from finetune.classification.thresholds import (
    Thresholds,
    ThresholdScope,
    fit_thresholds,
    fixed_thresholds,
    thresholds_from_json,
)
from finetune.models.probabilities import sigmoid, softmax
from finetune.models.settings import ClassifierSettings

Array = NDArray[Any]

AVERAGES = ("f1_micro", "precision_micro", "recall_micro", "f1_macro", "precision_macro", "recall_macro")
NAMES = {
    ProblemType.SINGLE: ("accuracy", *AVERAGES),
    ProblemType.MULTI: ("accuracy", "accuracy_micro", *AVERAGES),
    ProblemType.REGRESSION: ("mse", "mae", "pearson", "spearmanr"),
}
MAIN = {ProblemType.SINGLE: "accuracy", ProblemType.MULTI: "f1_micro", ProblemType.REGRESSION: "mse"}
SMALLER_IS_BETTER = frozenset({"loss", "mse", "mae", "ece"})


@dataclass(frozen=True)
class Scoring:
    """Which scores a task has. `metrics` are those of a GLUE task, in whose names it is then scored as well."""

    problem_type: ProblemType
    metrics: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        combined = ("combined_score",) if len(self.metrics) > 1 else ()
        return tuple(dict.fromkeys(("loss", *combined, *self.metrics, *NAMES[self.problem_type])))

    @property
    def main(self) -> str:
        """The score that the best checkpoint is chosen by."""
        if len(self.metrics) > 1:
            return "combined_score"
        return self.metrics[0] if self.metrics else MAIN[self.problem_type]

    def score(self, chosen: Array, expected: Array) -> dict[str, float]:
        """Scores of decisions: label ids (texts,), 0/1 (texts, labels), or values (texts,)."""
        scores = {
            ProblemType.SINGLE: score_multiclass,
            ProblemType.MULTI: score_multilabel,
            ProblemType.REGRESSION: score_regression,
        }[self.problem_type](chosen, expected)
        return {**score_glue(self.metrics, chosen, expected), **scores} if self.metrics else scores


@dataclass(frozen=True)
class Decision:
    """From outputs (texts, labels) to decisions: a temperature for the probabilities, thresholds for several labels."""

    problem_type: ProblemType
    thresholds: Thresholds
    temperature: float = 1.0

    def probabilities(self, outputs: Array) -> Array:
        """Probabilities (texts, labels); the values themselves (texts, 1) of a regression."""
        if self.problem_type is ProblemType.REGRESSION:
            return np.asarray(outputs, dtype=np.float64)
        logits = np.asarray(outputs, dtype=np.float64) / self.temperature
        return softmax(logits) if self.problem_type is ProblemType.SINGLE else sigmoid(logits)

    def decide(self, outputs: Array) -> Array:
        """Label ids (texts,), 0/1 (texts, labels), or values (texts,)."""
        if self.problem_type is ProblemType.SINGLE:
            return np.asarray(outputs).argmax(axis=-1)
        if self.problem_type is ProblemType.REGRESSION:
            return np.asarray(outputs, dtype=np.float64).reshape(-1)
        return self.thresholds.decide(self.probabilities(outputs))


def plain_decision(problem_type: ProblemType, labels: Sequence[str]) -> Decision:
    """Nothing fitted: temperature 1, thresholds 0.5."""
    return Decision(problem_type, fixed_thresholds(labels))


def read_decision(settings: ClassifierSettings, problem_type: ProblemType, labels: Sequence[str]) -> Decision:
    """The decision rule that settings hold.

    Raises:
        DataError: their thresholds are of another label set.
    """
    decision = replace(plain_decision(problem_type, labels), temperature=settings.temperature)
    if settings.thresholds is None or problem_type is not ProblemType.MULTI:
        return decision
    stored = {"thresholds": settings.thresholds, "scope": settings.threshold_scope}
    return replace(decision, thresholds=thresholds_from_json(stored, labels))


def fit_decision(
    outputs: Array, expected: Array, decision: Decision, *, scope: ThresholdScope, calibrate: bool = False
) -> Decision:
    """A decision with temperature (if `calibrate`) and thresholds (of several labels) fitted on validation."""
    if decision.problem_type is ProblemType.REGRESSION:
        return decision
    if calibrate:
        decision = replace(decision, temperature=fit_temperature(outputs, expected))
    if decision.problem_type is not ProblemType.MULTI:
        return decision
    labels = decision.thresholds.labels
    return replace(decision, thresholds=fit_thresholds(decision.probabilities(outputs), expected, labels, scope))


def score_calibration(outputs: Array, expected: Array, decision: Decision) -> dict[str, float]:
    """The expected calibration error of the probabilities, and where a temperature was fitted, that without it."""
    if decision.problem_type is ProblemType.REGRESSION:
        return {}
    errors = {"ece": expected_calibration_error(decision.probabilities(outputs), expected)}
    if decision.temperature != 1.0:
        plain = replace(decision, temperature=1.0)
        errors["ece_uncalibrated"] = expected_calibration_error(plain.probabilities(outputs), expected)
    return errors
