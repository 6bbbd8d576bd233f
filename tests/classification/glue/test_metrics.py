from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from finetune.classification.glue.metrics import rename_to_old, score_glue

RANDOM = np.random.default_rng(11)
EXPECTED = RANDOM.integers(0, 2, 200)
PREDICTED = np.where(RANDOM.random(200) < 0.8, EXPECTED, 1 - EXPECTED)


def test_cola() -> None:
    assert score_glue(["matthews_correlation"], PREDICTED, EXPECTED) == {
        "matthews_correlation": pytest.approx(sk.matthews_corrcoef(EXPECTED, PREDICTED))
    }


def test_mrpc_and_its_old_names() -> None:
    accuracy, f1 = sk.accuracy_score(EXPECTED, PREDICTED), sk.f1_score(EXPECTED, PREDICTED)
    scores = score_glue(["accuracy", "f1"], PREDICTED, EXPECTED)
    assert scores == pytest.approx({"accuracy": accuracy, "f1": f1, "combined_score": (accuracy + f1) / 2})
    assert set(rename_to_old(scores | {"eval_loss": 0.5})) == {"acc", "f1", "acc_and_f1", "loss"}


def test_stsb_and_its_old_names() -> None:
    expected = RANDOM.uniform(0, 5, 80)
    predicted = expected + RANDOM.normal(size=80)
    scores = score_glue(["pearson", "spearmanr"], predicted, expected)
    assert scores["pearson"] == pytest.approx(stats.pearsonr(predicted, expected).statistic)
    assert scores["spearmanr"] == pytest.approx(stats.spearmanr(predicted, expected).statistic)
    assert set(rename_to_old({f"eval_{name}": value for name, value in scores.items()})) == {
        "pearson",
        "spearmanr",
        "corr",
    }


def test_aspect_sentiment() -> None:
    expected, predicted = RANDOM.integers(0, 3, 90), RANDOM.integers(0, 3, 90)
    scores = score_glue(["accuracy", "f1_macro"], predicted, expected)
    assert scores["f1_macro"] == pytest.approx(sk.f1_score(expected, predicted, average="macro"))
    assert rename_to_old(scores)["acc"] == pytest.approx(sk.accuracy_score(expected, predicted))
