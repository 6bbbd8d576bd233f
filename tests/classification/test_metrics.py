from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from finetune.classification import metrics as ours

AVERAGES = ("micro", "macro")


@st.composite
def label_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    size = draw(st.integers(1, 30))
    labels = st.lists(st.integers(0, 4), min_size=size, max_size=size)
    return np.array(draw(labels)), np.array(draw(labels))


def sklearn_averages(predicted: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    scores = {}
    for average in AVERAGES:
        values = sk.precision_recall_fscore_support(expected, predicted, average=average, zero_division=0)
        scores.update(zip((f"precision_{average}", f"recall_{average}", f"f1_{average}"), values[:3], strict=True))
    return scores


@settings(max_examples=60, deadline=None)
@given(label_pairs())
def test_multiclass_equals_scikit_learn(pair: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, expected = pair
    scores = ours.score_multiclass(predicted, expected)
    reference = sklearn_averages(predicted, expected) | {
        "accuracy": sk.accuracy_score(expected, predicted),
        "nb_samples": len(expected),
    }
    assert scores == pytest.approx(reference)
    assert ours.matthews(predicted, expected) == pytest.approx(sk.matthews_corrcoef(expected, predicted), abs=1e-12)


def test_multilabel_equals_scikit_learn() -> None:
    random = np.random.default_rng(3)
    expected = random.random((40, 6)) < 0.3
    predicted = random.random((40, 6)) < 0.3
    expected[:, 5] = False  # a label without a reference
    predicted[:, 4] = False  # a label that is never chosen
    reference = sklearn_averages(predicted, expected) | {
        "accuracy": sk.accuracy_score(expected, predicted),
        "accuracy_micro": (expected == predicted).mean(),
        "nb_samples": 40,
    }
    assert ours.score_multilabel(predicted, expected) == pytest.approx(reference)


def test_regression_equals_scipy() -> None:
    random = np.random.default_rng(5)
    expected = np.round(random.uniform(0, 5, 50), 1)
    predicted = expected + random.normal(size=50)
    predicted[:6] = predicted[6]  # ties
    scores = ours.score_regression(predicted, expected)
    assert scores["mse"] == pytest.approx(sk.mean_squared_error(expected, predicted))
    assert scores["mae"] == pytest.approx(sk.mean_absolute_error(expected, predicted))
    assert scores["pearson"] == pytest.approx(stats.pearsonr(predicted, expected).statistic)
    assert scores["spearmanr"] == pytest.approx(stats.spearmanr(predicted, expected).statistic)


def test_undefined_correlation_is_zero_and_said(caplog: pytest.LogCaptureFixture) -> None:
    assert ours.pearson([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) == 0.0
    assert "undefined" in caplog.text


def test_pool_windows_is_the_mean_of_each_example() -> None:
    outputs = [[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]]
    np.testing.assert_allclose(ours.pool_windows(outputs, [1, 1, 0], 2), [[5.0, 5.0], [2.0, 1.0]])


def test_classes_equal_scikit_learn_report() -> None:
    predicted, expected = np.array([0, 1, 1, 2, 0]), np.array([0, 1, 2, 2, 1])
    labels = ["neg", "neu", "pos", "never"]
    report = sk.classification_report(
        expected, predicted, labels=range(4), target_names=labels, output_dict=True, zero_division=0
    )
    for row in ours.score_classes(predicted, expected, labels):
        reference = report[row.label]
        values = (row.precision, row.recall, row.f1, row.support)
        assert values == pytest.approx(tuple(reference[key] for key in ("precision", "recall", "f1-score", "support")))


def test_confusion_matrix_has_references_in_rows() -> None:
    table = ours.confusion_matrix([0, 1, 1], [0, 0, 1], number=3)
    np.testing.assert_array_equal(table, sk.confusion_matrix([0, 0, 1], [0, 1, 1], labels=range(3)))


def test_confident_errors_come_surest_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.99, 0.01]])
    errors = ours.find_confident_errors(probabilities, probabilities.argmax(1), [1, 1, 1, 0], ["no", "yes"], limit=5)
    assert [(error.row, error.predicted, error.expected) for error in errors] == [(0, "no", "yes"), (1, "no", "yes")]
    assert errors[0].probability == pytest.approx(0.9)


def test_confident_errors_of_decisions_name_the_label() -> None:
    probabilities = np.array([[0.95, 0.1], [0.4, 0.2]])
    expected = np.array([[0, 0], [0, 1]])
    errors = ours.find_confident_errors(probabilities, probabilities > 0.5, expected, ["joy", "anger"])
    assert [(error.row, error.predicted, error.expected) for error in errors] == [
        (0, "+joy", "-joy"),
        (1, "-anger", "+anger"),
    ]
