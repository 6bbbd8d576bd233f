from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from sklearn.metrics import classification_report

from finetune.classification.column_choice import ProblemType
from finetune.classification.decisions import Decision, Scoring, plain_decision
from finetune.classification.glue.check import check_submission
from finetune.classification.glue.report import write_glue_predictions, write_submission
from finetune.classification.glue.tasks import find_task
from finetune.classification.report import (
    format_confusions,
    format_decision,
    format_details,
    format_result,
    warn_of_fitting,
    write_predictions,
)
from finetune.classification.summary import summarise_texts
from finetune.classification.thresholds import Thresholds, ThresholdScope

LABELS = ["neg", "neu", "pos"]
RANDOM = np.random.default_rng(9)
OUTPUTS = RANDOM.normal(size=(60, 3))
EXPECTED = RANDOM.integers(0, 3, 60)
ROWS = Dataset.from_dict(
    {
        "text": [f"text {i}\nof row {i}" for i in range(60)],
        "label": [LABELS[i] for i in EXPECTED],
        "line": list(range(2, 62)),
    }
)


@pytest.fixture
def summary():
    decision = plain_decision(ProblemType.SINGLE, LABELS)
    return summarise_texts(OUTPUTS, EXPECTED, decision, Scoring(ProblemType.SINGLE), LABELS, listed_errors=3)


def test_table_is_scikit_learns_to_the_letter(summary) -> None:
    expected = classification_report(EXPECTED, OUTPUTS.argmax(1), target_names=LABELS, digits=4)
    assert format_result("test", summary).endswith(expected)
    assert "[ Test Result ]" in format_result("test", summary)


def test_details_name_rows_and_lines(summary) -> None:
    details = format_details("test", summary, LABELS, ROWS)
    assert "Confusion matrix (rows: expected, columns: predicted):" in details
    surest = summary.errors[0]
    assert f"{surest.row:>7} (line {surest.row + 2})  {surest.probability:.4f}" in details
    assert f"text {surest.row} of row {surest.row}" in details


def test_many_labels_show_the_most_frequent_confusions() -> None:
    labels = [f"l{i}" for i in range(20)]
    table = np.zeros((20, 20), dtype=np.int64)
    table[3, 4], table[5, 5], table[1, 2] = 7, 100, 9
    text = format_confusions(table, labels)
    assert text.index("l1 -> l2 9") < text.index("l3 -> l4 7")
    assert "l5 -> l5" not in text


def test_predictions_of_all_kinds(tmp_path: Path) -> None:
    def read(rows: Dataset, outputs: np.ndarray, decision: Decision, labels: list[str]) -> dict:
        path = write_predictions(tmp_path, "test", rows, outputs, decision, labels)
        return json.loads(path.read_text(encoding="utf-8").split("\n")[1])

    row = read(ROWS, OUTPUTS, plain_decision(ProblemType.SINGLE, LABELS), LABELS)
    assert (row["row"], row["line"], row["text"], row["expected"]) == (1, 3, "text 1\nof row 1", LABELS[EXPECTED[1]])
    assert row["predicted"] == LABELS[OUTPUTS[1].argmax()]
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    bare = Dataset.from_dict({"text": ["a", "b"], "text_pair": ["c", "d"], "line": [0, 0]})
    several = Decision(ProblemType.MULTI, Thresholds(tuple(LABELS), (0.1, 0.999, 0.1)))
    row = read(bare, OUTPUTS[:2], several, LABELS)
    assert row["predicted"] == ["neg", "pos"]
    assert set(row) == {"row", "text", "text_pair", "predicted", "probabilities"}
    assert read(bare, OUTPUTS[:2, :1], plain_decision(ProblemType.REGRESSION, [""]), [""])[
        "predicted"
    ] == pytest.approx(OUTPUTS[1, 0], abs=1e-6)


def test_what_was_fitted_is_told() -> None:
    thresholds = Thresholds(("joy", "fear"), (0.31, 0.5), ThresholdScope.PER_LABEL, unfitted=("fear",))
    text = format_decision(Decision(ProblemType.MULTI, thresholds, temperature=1.25))
    assert "fitted on validation: 1.2500" in text
    assert " joy 0.31\n" in text
    assert "fear 0.50  (validation has no example: 0.5)" in text
    assert format_decision(plain_decision(ProblemType.SINGLE, LABELS)) == ""


def test_submissions_pass_the_check(tmp_path: Path) -> None:
    wnli, stsb = find_task("wnli"), find_task("stsb")
    write_submission(tmp_path, wnli, [wnli.labels[i % 2] for i in range(146)])
    write_submission(tmp_path, stsb, [7.3, -2.0, *[2.5] * 1377])
    assert [entry.problems for entry in check_submission(tmp_path)] == [(), ()]
    lines = (tmp_path / "STS-B.tsv").read_text(encoding="utf-8").split("\n")
    assert lines[:3] == ["index\tprediction", "0\t5.000", "1\t0.000"]
    path = write_glue_predictions(tmp_path / "test_results_stsb.txt", [2.55555])
    assert path.read_text(encoding="utf-8") == "index\tprediction\n0\t2.556\n"


def test_what_was_fitted_on_validation_is_said():
    fitted = Decision(ProblemType.SINGLE, plain_decision(ProblemType.SINGLE, LABELS).thresholds, temperature=1.25)
    assert warn_of_fitting(plain_decision(ProblemType.SINGLE, LABELS)) == []
    (sentence,) = warn_of_fitting(fitted)
    assert "the temperature (ece)" in sentence and "thresholds" not in sentence
    scope = Thresholds(tuple(LABELS), (0.3,) * len(LABELS), ThresholdScope.GLOBAL)
    (sentence,) = warn_of_fitting(Decision(ProblemType.MULTI, scope))
    assert "the thresholds (f1, precision, recall)" in sentence
