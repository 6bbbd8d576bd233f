"""Predictions and references of whole texts -> numbers: one label, several labels, or a value per text.

Scores follow scikit-learn's definitions (an undefined precision, recall or F1 counts as 0), computed from counts, so
that evaluation during training costs next to nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finetune.report.class_scores import ClassScore

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConfidentError:
    """A wrong prediction: the row in its split (0-based), what was predicted with which probability, what is right."""

    row: int
    predicted: str
    expected: str
    probability: float


def pool_windows(outputs: ArrayLike, examples: ArrayLike, number: int) -> NDArray[np.float64]:
    """Mean of the outputs (windows, labels) of the windows of each example -> (number, labels).

    `examples[i]` is the row in its split of window i. Rows without any window stay NaN, which no encoder produces.
    """
    outputs, examples = np.asarray(outputs, dtype=np.float64), np.asarray(examples)
    windows = np.bincount(examples, minlength=number)
    sums = np.zeros((number, *outputs.shape[1:]))
    np.add.at(sums, examples, outputs)
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums / windows.reshape(-1, *[1] * (outputs.ndim - 1))


def score_multiclass(predicted: ArrayLike, expected: ArrayLike) -> dict[str, float]:
    """Accuracy and micro/macro precision, recall and F1 of label ids (examples,).

    Macro averages go over the labels that occur in either array, as scikit-learn's do.
    """
    predicted, expected = np.asarray(predicted, dtype=np.int64), np.asarray(expected, dtype=np.int64)
    number = 1 + int(max(predicted.max(initial=-1), expected.max(initial=-1)))
    support = np.bincount(expected, minlength=number)
    chosen = np.bincount(predicted, minlength=number)
    correct = np.bincount(expected[predicted == expected], minlength=number)
    present = (support + chosen) > 0
    return {
        "accuracy": _ratio(correct.sum(), len(expected)),
        **_averages(correct[present], chosen[present], support[present]),
        "nb_samples": len(expected),
    }


def score_multilabel(predicted: ArrayLike, expected: ArrayLike) -> dict[str, float]:
    """Scores of 0/1 decisions (examples, labels); macro averages go over all labels.

    `accuracy` asks for the whole set of labels to be right, `accuracy_micro` counts single decisions.
    """
    predicted, expected = np.asarray(predicted).astype(bool), np.asarray(expected).astype(bool)
    correct, chosen, support = (predicted & expected).sum(0), predicted.sum(0), expected.sum(0)
    return {
        "accuracy": _ratio((predicted == expected).all(axis=1).sum(), len(expected)),
        "accuracy_micro": _ratio((predicted == expected).sum(), expected.size),
        **_averages(correct, chosen, support),
        "nb_samples": len(expected),
    }


def score_regression(predicted: ArrayLike, expected: ArrayLike) -> dict[str, float]:
    """Mean squared and absolute error, Pearson's and Spearman's correlation of values (examples,)."""
    predicted, expected = np.asarray(predicted, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    errors = predicted - expected
    return {
        "mse": float(np.mean(errors**2)),
        "mae": float(np.mean(np.abs(errors))),
        "pearson": pearson(predicted, expected),
        "spearmanr": spearman(predicted, expected),
        "nb_samples": len(expected),
    }


def pearson(predicted: ArrayLike, expected: ArrayLike) -> float:
    """Pearson's correlation; 0.0 (with a warning) where one side is constant and it is undefined."""
    predicted, expected = np.asarray(predicted, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    left, right = predicted - predicted.mean(), expected - expected.mean()
    scale = np.linalg.norm(left) * np.linalg.norm(right)
    if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(expected) == 0 or scale == 0:
        logger.warning("A correlation is undefined, since all predictions or all references are equal; 0.0 is given.")
        return 0.0
    return float(np.clip(left @ right / scale, -1.0, 1.0))


def spearman(predicted: ArrayLike, expected: ArrayLike) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, ties sharing their mean rank."""
    from scipy.stats import rankdata

    return pearson(rankdata(predicted), rankdata(expected))


def matthews(predicted: ArrayLike, expected: ArrayLike) -> float:
    """Matthews' correlation of label ids (Gorodkin 2004 for more than two classes); 0.0 where it is undefined."""
    table = confusion_matrix(predicted, expected).astype(np.float64)
    chosen, support, total = table.sum(0), table.sum(1), table.sum()
    covariance = np.trace(table) * total - chosen @ support
    scale = np.sqrt((total**2 - chosen @ chosen) * (total**2 - support @ support))
    return _ratio(covariance, scale)


def confusion_matrix(predicted: ArrayLike, expected: ArrayLike, number: int | None = None) -> NDArray[np.int64]:
    """Counts (labels, labels): row = reference, column = prediction."""
    predicted, expected = np.asarray(predicted, dtype=np.int64), np.asarray(expected, dtype=np.int64)
    size = number or 1 + int(max(predicted.max(initial=-1), expected.max(initial=-1)))
    return np.bincount(expected * size + predicted, minlength=size * size).reshape(size, size)


def score_classes(predicted: ArrayLike, expected: ArrayLike, labels: Sequence[str]) -> list[ClassScore]:
    """Precision, recall, F1 and support of each label, in the order of `labels`.

    Takes label ids (examples,) or 0/1 decisions (examples, labels).
    """
    predicted, expected = np.asarray(predicted), np.asarray(expected)
    if expected.ndim == 1:
        predicted, expected = _one_hot(predicted, len(labels)), _one_hot(expected, len(labels))
    predicted, expected = predicted.astype(bool), expected.astype(bool)
    correct, chosen, support = (predicted & expected).sum(0), predicted.sum(0), expected.sum(0)
    precision, recall, f1 = _precision_recall_f1(correct, chosen, support)
    return [
        ClassScore(label, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
        for i, label in enumerate(labels)
    ]


def find_confident_errors(
    probabilities: ArrayLike, predicted: ArrayLike, expected: ArrayLike, labels: Sequence[str], limit: int = 20
) -> list[ConfidentError]:
    """The wrong predictions that the model was surest of, surest first.

    One label per text: its predicted label. Several labels: each wrong decision by itself, `+joy` or `-joy`.
    `probabilities` has the shape (examples, labels) in both cases.
    """
    probabilities, predicted, expected = (np.asarray(array) for array in (probabilities, predicted, expected))
    if expected.ndim == 2:
        return _confident_decisions(probabilities, predicted.astype(bool), expected.astype(bool), labels, limit)
    rows = np.flatnonzero(predicted != expected)
    certainty = probabilities[rows, predicted[rows]]
    order = np.argsort(-certainty, kind="stable")[:limit]
    return [
        ConfidentError(int(row), labels[predicted[row]], labels[expected[row]], float(probability))
        for row, probability in zip(rows[order], certainty[order], strict=True)
    ]


def _confident_decisions(
    probabilities: NDArray[np.float64],
    predicted: NDArray[np.bool_],
    expected: NDArray[np.bool_],
    labels: Sequence[str],
    limit: int,
) -> list[ConfidentError]:
    rows, columns = np.nonzero(predicted != expected)
    chosen = predicted[rows, columns]
    certainty = np.where(chosen, probabilities[rows, columns], 1.0 - probabilities[rows, columns])
    order = np.argsort(-certainty, kind="stable")[:limit]
    return [
        ConfidentError(
            int(rows[i]),
            ("+" if chosen[i] else "-") + labels[columns[i]],
            ("-" if chosen[i] else "+") + labels[columns[i]],
            float(certainty[i]),
        )
        for i in order
    ]


def _one_hot(ids: NDArray[np.int64], number: int) -> NDArray[np.bool_]:
    return ids[:, None] == np.arange(number)[None, :]


def _averages(correct: NDArray[np.int64], chosen: NDArray[np.int64], support: NDArray[np.int64]) -> dict[str, float]:
    precision, recall, f1 = _precision_recall_f1(correct, chosen, support)
    hits, picks, references = correct.sum(), chosen.sum(), support.sum()
    return {
        "f1_micro": _ratio(2 * hits, picks + references),
        "precision_micro": _ratio(hits, picks),
        "recall_micro": _ratio(hits, references),
        "f1_macro": float(f1.mean()) if len(f1) else 0.0,
        "precision_macro": float(precision.mean()) if len(f1) else 0.0,
        "recall_macro": float(recall.mean()) if len(f1) else 0.0,
    }


def _precision_recall_f1(
    correct: NDArray[np.int64], chosen: NDArray[np.int64], support: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Arrays (labels,), 0 where undefined."""
    precision = np.divide(correct, chosen, out=np.zeros(len(correct)), where=chosen > 0)
    recall = np.divide(correct, support, out=np.zeros(len(correct)), where=support > 0)
    f1 = np.divide(2 * correct, chosen + support, out=np.zeros(len(correct)), where=(chosen + support) > 0)
    return precision, recall, f1


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
