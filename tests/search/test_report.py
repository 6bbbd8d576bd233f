"""The table of a study reads back; its plots are pages of a PDF, whatever the study holds."""

import csv
import gzip
import json

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from finetune.search.importance import write_importances
from finetune.search.report import write_optimization_plots, write_optimization_results

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
SPACE = {"lr": FloatDistribution(1e-6, 1e-2, log=True), "optimizer": CategoricalDistribution(["SGD", "AdamW"])}


def make_study(complete):
    study = optuna.create_study()
    for number in range(complete):
        params = {"lr": 10.0 ** (-5 + number % 3), "optimizer": ["SGD", "AdamW"][number % 2]}
        losses = {1: 5.0 - number, 2: 4.0 - number}
        study.add_trial(
            create_trial(value=4.0 - number, params=params, distributions=SPACE, intermediate_values=losses)
        )
    return study


def read_rows(path):
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_a_trial(tmp_path):
    study = make_study(2)
    study.add_trial(
        create_trial(
            state=TrialState.PRUNED,
            params={"lr": 1e-3},
            distributions={"lr": SPACE["lr"]},
            user_attrs={"reason": "it, said"},
        )
    )
    rows = read_rows(write_optimization_results(tmp_path / "r.csv.gz", study.trials))
    assert [row["state"] for row in rows] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert [row["value"] for row in rows] == ["4", "3", "NA"] or [float(row["value"]) for row in rows[:2]] == [4.0, 3.0]
    assert float(rows[1]["params_lr"]) == 1e-4 and rows[2]["params_optimizer"] == "NA"
    assert rows[0]["epochs"] == "2" and rows[2]["attrs_reason"] == "it, said"


def test_a_study_without_trials_has_a_table(tmp_path):
    assert read_rows(write_optimization_results(tmp_path / "r.csv.gz", [])) == []


def test_importances_of_a_study_whose_loss_hangs_on_the_rate(tmp_path):
    study = optuna.create_study()
    for number in range(24):
        params = {"lr": 10.0 ** (-6 + number % 5), "optimizer": ["SGD", "AdamW"][number % 2]}
        study.add_trial(create_trial(value=float(number % 5), params=params, distributions=SPACE))
    found = json.loads(write_importances(tmp_path / "i.json", study, seed=1).read_text())
    assert set(found) == {"fanova", "ped_anova"}
    for shares in found.values():
        assert sum(shares.values()) == pytest.approx(1) and shares["lr"] > 0.9
    again = json.loads(write_importances(tmp_path / "j.json", study, seed=1).read_text())
    assert again == found


@pytest.mark.parametrize("losses", [[1.0, 2.0], [1.0] * 9])
def test_studies_that_tell_nothing_have_no_importances(tmp_path, losses):
    study = optuna.create_study()
    for number, loss in enumerate(losses):
        params = {"lr": 10.0 ** (-6 + number % 3), "optimizer": ["SGD", "AdamW"][number % 2]}
        study.add_trial(create_trial(value=loss, params=params, distributions=SPACE))
    assert json.loads(write_importances(tmp_path / "i.json", study, seed=1).read_text()) == {}


def test_plots(tmp_path):
    path = tmp_path / "plots.pdf"
    assert write_optimization_plots(path, make_study(6)) == []
    content = path.read_bytes()
    assert content.startswith(b"%PDF") and content.count(b"/Type /Page ") == 8
