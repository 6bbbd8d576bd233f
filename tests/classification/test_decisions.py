from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from finetune.classification.column_choice import ProblemType
from finetune.classification.decisions import Decision, Scoring, fit_decision, plain_decision, score_calibration
from finetune.classification.summary import summarise_texts
from finetune.classification.thresholds import Thresholds, ThresholdScope

OUTPUTS = np.array([[2.0, 1.0], [0.5, -1.0], [-3.0, 0.4]])


def test_kinds_of_decisions() -> None:
    single = plain_decision(ProblemType.SINGLE, ["a", "b"])
    assert single.decide(OUTPUTS).tolist() == [0, 0, 1]
    np.testing.assert_allclose(single.probabilities(OUTPUTS), softmax(OUTPUTS, axis=1))
    several = Decision(ProblemType.MULTI, Thresholds(("a", "b"), (0.7, 0.2)), temperature=2.0)
    np.testing.assert_allclose(several.probabilities(OUTPUTS), expit(OUTPUTS / 2))
    assert several.decide(OUTPUTS).tolist() == [[True, True], [False, True], [False, True]]
    value = plain_decision(ProblemType.REGRESSION, ["LABEL_0"])
    assert value.decide(OUTPUTS[:, :1]).tolist() == [2.0, 0.5, -3.0]


def test_fitting_keeps_single_labels_as_they_are() -> None:
    plain = plain_decision(ProblemType.SINGLE, ["a", "b"])
    expected = np.array([0, 1, 1])
    assert fit_decision(OUTPUTS, expected, plain, scope=ThresholdScope.PER_LABEL) == plain
    fitted = fit_decision(OUTPUTS, expected, plain, scope=ThresholdScope.PER_LABEL, calibrate=True)
    assert fitted.temperature != 1.0
    assert fitted.decide(OUTPUTS).tolist() == plain.decide(OUTPUTS).tolist()
    assert set(score_calibration(OUTPUTS, expected, fitted)) == {"ece", "ece_uncalibrated"}


def test_thresholds_are_fitted_on_calibrated_probabilities() -> None:
    random = np.random.default_rng(3)
    expected = random.random((200, 2)) < 0.3
    outputs = (expected * 2 - 1.5 + random.normal(size=(200, 2))) * 4
    plain = plain_decision(ProblemType.MULTI, ["a", "b"])
    fitted = fit_decision(outputs, expected, plain, scope=ThresholdScope.PER_LABEL, calibrate=True)
    scoring = Scoring(ProblemType.MULTI)
    better = scoring.score(fitted.decide(outputs), expected)["f1_micro"]
    assert better >= scoring.score(plain.decide(outputs), expected)["f1_micro"]


@pytest.mark.parametrize(
    ("problem_type", "metrics", "main"),
    [
        (ProblemType.SINGLE, (), "accuracy"),
        (ProblemType.SINGLE, ("matthews_correlation",), "matthews_correlation"),
        (ProblemType.SINGLE, ("accuracy", "f1"), "combined_score"),
        (ProblemType.MULTI, (), "f1_micro"),
        (ProblemType.REGRESSION, ("pearson", "spearmanr"), "combined_score"),
        (ProblemType.REGRESSION, (), "mse"),
    ],
)
def test_main_score_is_among_the_names(problem_type: ProblemType, metrics: tuple[str, ...], main: str) -> None:
    scoring = Scoring(problem_type, metrics)
    assert scoring.main == main
    assert main in scoring.names


def test_names_are_those_that_are_scored() -> None:
    for problem_type, chosen in (
        (ProblemType.SINGLE, np.array([0, 1, 1])),
        (ProblemType.MULTI, np.array([[0, 1], [1, 1], [0, 0]])),
        (ProblemType.REGRESSION, np.array([0.5, 1.0, 2.0])),
    ):
        scoring = Scoring(problem_type)
        assert set(scoring.names) - {"loss"} == set(scoring.score(chosen, chosen)) - {"nb_samples"}


def test_summary_of_several_labels_counts_texts_without_any() -> None:
    decision = plain_decision(ProblemType.MULTI, ["a", "b"])
    expected = np.array([[1, 1], [0, 0], [0, 1]])
    outputs = np.array([[2.0, 1.0], [-0.5, -1.0], [-3.0, -0.4]])
    summary = summarise_texts(outputs, expected, decision, Scoring(ProblemType.MULTI), ["a", "b"], listed_errors=5)
    assert summary.scores["nb_without_label"] == 2
    assert [row.label for row in summary.averages] == ["micro avg", "macro avg", "weighted avg"]
    assert [(error.row, error.predicted) for error in summary.errors] == [(2, "-b")]
