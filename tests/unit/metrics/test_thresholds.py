from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from finetune.errors import DataError
from finetune.metrics.thresholds import (
    GRID,
    Thresholds,
    ThresholdScope,
    fit_thresholds,
    fixed_thresholds,
    thresholds_from_json,
)

LABELS = ["joy", "anger", "never"]


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    expected = random.random((300, 3)) < np.array([0.3, 0.05, 0.0])
    probabilities = np.clip(expected * np.array([0.3, 0.1, 0.2]) + random.random((300, 3)) * 0.5, 0, 1)
    return probabilities, expected


def best_by_scikit_learn(probabilities: np.ndarray, expected: np.ndarray) -> float:
    return max(f1_score(expected, probabilities > threshold, zero_division=0) for threshold in GRID)


def test_each_label_gets_its_best_f1(scored: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, expected = scored
    fitted = fit_thresholds(probabilities, expected, LABELS, ThresholdScope.PER_LABEL)
    decisions = fitted.decide(probabilities)
    for column in range(2):
        reference = best_by_scikit_learn(probabilities[:, column], expected[:, column])
        assert f1_score(expected[:, column], decisions[:, column]) == pytest.approx(reference)
    assert fitted.values[2] == 0.5
    assert fitted.unfitted == ("never",)


def test_global_threshold_has_the_best_micro_f1(scored: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, expected = scored
    fitted = fit_thresholds(probabilities, expected, LABELS, ThresholdScope.GLOBAL)
    assert len(set(fitted.values)) == 1
    reference = max(f1_score(expected, probabilities > value, average="micro", zero_division=0) for value in GRID)
    assert f1_score(expected, fitted.decide(probabilities), average="micro", zero_division=0) == pytest.approx(
        reference
    )


def test_ties_go_to_the_threshold_nearest_to_one_half() -> None:
    fitted = fit_thresholds([[0.9], [0.1]], [[1], [0]], ["x"], ThresholdScope.PER_LABEL)
    assert fitted.values == (0.5,)
    assert fit_thresholds([[0.9], [0.7]], [[1], [0]], ["x"], ThresholdScope.PER_LABEL).values == (0.7,)


def test_thresholds_survive_json_and_another_label_order() -> None:
    fitted = Thresholds(("a", "b"), (0.2, 0.7), ThresholdScope.PER_LABEL)
    again = thresholds_from_json(json.loads(json.dumps(fitted.as_json())), ["b", "a"])
    assert again.values == (0.7, 0.2)
    assert again.scope is ThresholdScope.PER_LABEL


def test_thresholds_of_another_label_set_are_refused() -> None:
    stored = fixed_thresholds(["a", "b"]).as_json()
    with pytest.raises(DataError, match=r"another label set: there is one for b, .* there is none for c"):
        thresholds_from_json(stored, ["a", "c"])
    with pytest.raises(DataError, match="numbers between 0 and 1"):
        thresholds_from_json({"thresholds": {"a": 7}}, ["a"])
