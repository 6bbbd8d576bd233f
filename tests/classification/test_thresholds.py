from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from finetune.classification.thresholds import (
    GRID,
    Thresholds,
    ThresholdScope,
    fit_thresholds,
    fixed_thresholds,
    thresholds_from_json,
)
from finetune.errors import DataError

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
    fitted = fit_thresholds(probabilities, expected, LABELS, ThresholdScope.PER_LABEL_MACRO)
    decisions = fitted.decide(probabilities)
    for column in range(2):
        reference = best_by_scikit_learn(probabilities[:, column], expected[:, column])
        assert f1_score(expected[:, column], decisions[:, column]) == pytest.approx(reference)
    assert fitted.values[2] == 0.5
    assert fitted.unfitted == ("never",)


@pytest.mark.parametrize("seed", range(4))
def test_thresholds_of_each_label_have_the_best_micro_f1_of_all_combinations(seed: int) -> None:
    random = np.random.default_rng(seed)
    expected = random.random((60, 3)) < np.array([0.3, 0.1, 0.0])
    probabilities = np.clip(expected * random.random(3) * 0.4 + random.random((60, 3)) * 0.6, 0, 1)
    fitted = fit_thresholds(probabilities, expected, LABELS, ThresholdScope.PER_LABEL)
    assert fitted.values[2] == 0.5 and fitted.unfitted == ("never",)
    found = f1_score(expected, fitted.decide(probabilities), average="micro", zero_division=0)
    counts = [[((probabilities[:, label] > value) & expected[:, label]).sum() for value in GRID] for label in range(2)]
    given = [[(probabilities[:, label] > value).sum() for value in GRID] for label in range(3)]
    right = np.add.outer(counts[0], counts[1])
    everything = np.add.outer(given[0], given[1]) + given[2][49] + expected.sum()
    assert found == pytest.approx((2 * right / everything).max())


def test_a_label_that_was_not_learnt_is_not_given_to_every_text() -> None:
    random = np.random.default_rng(0)
    expected = random.random((500, 2)) < np.array([0.5, 0.05])
    probabilities = np.stack([np.where(expected[:, 0], 0.8, 0.2), 0.05 + 0.01 * random.random(500)], axis=1)
    alone = fit_thresholds(probabilities, expected, LABELS[:2], ThresholdScope.PER_LABEL_MACRO).decide(probabilities)
    together = fit_thresholds(probabilities, expected, LABELS[:2], ThresholdScope.PER_LABEL).decide(probabilities)
    assert alone[:, 1].all() and not together[:, 1].any() and (together[:, 0] == expected[:, 0]).all()


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
