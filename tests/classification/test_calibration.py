from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, log_expit, log_softmax, softmax

from finetune.classification.calibration import expected_calibration_error, fit_temperature


def sample(scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose true probabilities are softmax(logits / scale)."""
    random = np.random.default_rng(7)
    true = random.normal(size=(4000, 3)) * 2
    expected = np.array([random.choice(3, p=row) for row in softmax(true, axis=1)])
    return true * scale, expected


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_temperature_undoes_a_scale_of_the_logits(scale: float) -> None:
    logits, expected = sample(scale)
    temperature = fit_temperature(logits, expected)
    assert temperature == pytest.approx(scale, rel=0.1)
    losses = {
        value: -log_softmax(logits / value, axis=1)[np.arange(len(expected)), expected].mean()
        for value in (temperature * 0.9, temperature, temperature * 1.1)
    }
    assert min(losses, key=lambda value: losses[value]) == temperature


def test_temperature_of_several_labels() -> None:
    random = np.random.default_rng(2)
    true = random.normal(size=(3000, 4))
    expected = random.random((3000, 4)) < expit(true)
    temperature = fit_temperature(true * 2.5, expected)
    assert temperature == pytest.approx(2.5, rel=0.1)
    best = -log_expit(np.where(expected, true, -true) * 2.5 / temperature).mean()
    assert best <= -log_expit(np.where(expected, true, -true)).mean()


def test_calibration_lowers_the_error() -> None:
    logits, expected = sample(3.0)
    before = expected_calibration_error(softmax(logits, axis=1), expected)
    after = expected_calibration_error(softmax(logits / fit_temperature(logits, expected), axis=1), expected)
    assert after < 0.03 < before


def test_error_by_hand() -> None:
    # Two bins of two: confidences 0.9 and 0.95 (one right), 0.6 and 0.6 (both right).
    probabilities = np.array([[0.9, 0.1], [0.95, 0.05], [0.6, 0.4], [0.6, 0.4]])
    expected = np.array([0, 1, 0, 0])
    by_hand = (abs(0.9 + 0.95 - 1) + abs(1.2 - 2)) / 4
    assert expected_calibration_error(probabilities, expected, bins=5) == pytest.approx(by_hand)
    assert expected_calibration_error([[0.8, 0.3]], [[1, 0]], bins=10) == pytest.approx((0.2 + 0.3) / 2)
