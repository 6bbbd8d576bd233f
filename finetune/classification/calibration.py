"""How far probabilities can be believed: expected calibration error, and one temperature that mends it.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (2017): the logits are divided by one
number, fitted on validation; no prediction changes, only its probability.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finetune.models.probabilities import sigmoid, softmax
from finetune.report.calibration import BINS

LOG_TEMPERATURE_RANGE = (-3.0, 3.0)  # temperatures from 0.05 to 20


def fit_temperature(logits: ArrayLike, expected: ArrayLike) -> float:
    """The temperature with the least negative log-likelihood on validation.

    `expected` holds label ids (examples,), or 0/1 decisions (examples, labels) for a multi-label model.
    """
    from scipy.optimize import minimize_scalar

    logits, expected = np.asarray(logits, dtype=np.float64), np.asarray(expected)
    loss = _binary_loss if expected.ndim == 2 else _categorical_loss
    fitted = minimize_scalar(
        lambda exponent: loss(logits / np.exp(exponent), expected), bounds=LOG_TEMPERATURE_RANGE, method="bounded"
    )
    return float(np.exp(fitted.x))


def expected_calibration_error(probabilities: ArrayLike, expected: ArrayLike, bins: int = BINS) -> float:
    """Mean gap between confidence and accuracy over `bins` equally wide bins, weighted by their size (0 is perfect).

    One label per text (`expected` (examples,)): the probability of the predicted label against its being right.
    Several labels ((examples, labels)): the probability of each label against its being given.
    """
    probabilities, expected = np.asarray(probabilities, dtype=np.float64), np.asarray(expected)
    if expected.ndim == 2:
        confidence, outcome = probabilities.ravel(), expected.astype(np.float64).ravel()
    else:
        confidence = probabilities.max(axis=1)
        outcome = (probabilities.argmax(axis=1) == expected).astype(np.float64)
    if len(confidence) == 0:
        return 0.0
    # A confidence on the border of two bins belongs to the lower one, (0, 1/15] being the first, as in the paper.
    places = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=confidence - outcome, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def _categorical_loss(logits: NDArray[np.float64], expected: NDArray[np.int64]) -> float:
    chosen = softmax(logits)[np.arange(len(expected)), expected]
    return float(-np.log(np.maximum(chosen, np.finfo(float).tiny)).mean())


def _binary_loss(logits: NDArray[np.float64], expected: NDArray[np.int64]) -> float:
    right = sigmoid(np.where(expected.astype(bool), logits, -logits))
    return float(-np.log(np.maximum(right, np.finfo(float).tiny)).mean())
