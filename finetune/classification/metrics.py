"""Predictions and references of whole texts -> numbers: one label, several labels, or a value per text.

Scores are scikit-learn's and scipy's; an undefined precision, recall, F1 or correlation counts as 0.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finetune.report.class_scores import ClassScore

logger = logging.getLogger(__name__)

SCORES = {"f1": 2, "precision": 0, "recall": 1}  # where scikit-learn gives them


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
    return {
        "accuracy": _share(predicted == expected),
        **_averages(predicted, expected),
        "nb_samples": len(expected),
    }


def score_multilabel(predicted: ArrayLike, expected: ArrayLike) -> dict[str, float]:
    """Scores of 0/1 decisions (examples, labels); macro averages go over all labels.

    `accuracy` asks for the whole set of labels to be right, `accuracy_micro` counts single decisions.
    """
    predicted, expected = np.asarray(predicted).astype(bool), np.asarray(expected).astype(bool)
    return {
        "accuracy": _share((predicted == expected).all(axis=1)),
        "accuracy_micro": _share(predicted == expected),
        **_averages(predicted, expected),
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
    from scipy.stats import pearsonr

    predicted, expected = np.asarray(predicted, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(expected) == 0:
        logger.warning("A correlation is undefined, since all predictions or all references are equal; 0.0 is given.")
        return 0.0
    return float(pearsonr(predicted, expected).statistic)


def spearman(predicted: ArrayLike, expected: ArrayLike) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, ties sharing their mean rank."""
    from scipy.stats import rankdata

    return pearson(rankdata(predicted), rankdata(expected))


def matthews(predicted: ArrayLike, expected: ArrayLike) -> float:
    """Matthews' correlation of label ids (Gorodkin 2004 for more than two classes); 0.0 where it is undefined."""
    from sklearn.metrics import matthews_corrcoef

    predicted, expected = np.asarray(predicted), np.asarray(expected)
    if len(np.union1d(predicted, expected)) < 2:
        return 0.0
    return float(matthews_corrcoef(expected, predicted))


def confusion_matrix(predicted: ArrayLike, expected: ArrayLike, number: int | None = None) -> NDArray[np.int64]:
    """Counts (labels, labels): row = reference, column = prediction."""
    from sklearn.metrics import confusion_matrix as count_pairs

    predicted, expected = np.asarray(predicted, dtype=np.int64), np.asarray(expected, dtype=np.int64)
    size = number or 1 + int(max(predicted.max(initial=-1), expected.max(initial=-1)))
    if not len(expected):
        return np.zeros((size, size), dtype=np.int64)
    return count_pairs(expected, predicted, labels=np.arange(size))


def score_classes(predicted: ArrayLike, expected: ArrayLike, labels: Sequence[str]) -> list[ClassScore]:
    """Precision, recall, F1 and support of each label, in the order of `labels`.

    Takes label ids (examples,) or 0/1 decisions (examples, labels).
    """
    predicted, expected = np.asarray(predicted), np.asarray(expected)
    if not len(expected):
        return [ClassScore(label, 0.0, 0.0, 0.0, 0) for label in labels]
    scores = _precision_recall_f1(predicted, expected, labels=np.arange(len(labels)))
    return [
        ClassScore(label, float(precision), float(recall), float(f1), int(support))
        for label, precision, recall, f1, support in zip(labels, *scores, strict=True)
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


def _averages(predicted: NDArray[Any], expected: NDArray[Any]) -> dict[str, float]:
    """Micro and macro averages of label ids (examples,) or of decisions (examples, labels)."""
    scores: dict[str, float] = {}
    for average in ("micro", "macro"):
        found = _precision_recall_f1(predicted, expected, average=average) if len(expected) else (0.0, 0.0, 0.0)
        scores |= {f"{name}_{average}": float(found[place]) for name, place in SCORES.items()}
    return scores


def _precision_recall_f1(predicted: NDArray[Any], expected: NDArray[Any], **choices: Any) -> tuple[Any, ...]:
    from sklearn.metrics import precision_recall_fscore_support

    return precision_recall_fscore_support(expected, predicted, zero_division=0, **choices)


def _share(right: NDArray[np.bool_]) -> float:
    return float(right.mean()) if right.size else 0.0
