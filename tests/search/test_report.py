"""The table of a study reads back; its plots are pages of a PDF, whatever the study holds."""

import csv
import gzip
import itertools
import json

import optuna
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_pdf import PdfPages
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from finetune.search.importance import write_importances
from finetune.search.report import shorten_name, write_optimization_plots, write_optimization_results

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


def looks_of(study, name, monkeypatch, tmp_path):
    """The figure of one page, as it is saved."""
    pyplot.close("all")  # those of the test before
    figures = {}
    monkeypatch.setattr(PdfPages, "savefig", lambda _, figure, **__: figures.setdefault(figure.get_suptitle(), figure))
    monkeypatch.setattr(pyplot, "close", lambda _: None)
    assert write_optimization_plots(tmp_path / "plots.pdf", study) == []
    figures[name].canvas.draw()
    return figures[name]


PATHS = ["data/childes/train-a.txt.gz", "data/wikipedia/long/path/train-b.txt.gz", "torch.optim.Adafactor", "ก ข ค"]


@pytest.fixture
def study_of_names():
    study = optuna.create_study()
    space = SPACE | {"file": CategoricalDistribution(PATHS), "steps": IntDistribution(1, 4)}
    for number in range(12):
        params = {"lr": 10.0 ** (-5 + number % 3), "optimizer": ["SGD", "AdamW"][number % 2], "file": PATHS[number % 4]}
        study.add_trial(
            create_trial(value=4.0 - number % 5, params=params | {"steps": 1 + number % 4}, distributions=space)
        )
    return study


@pytest.mark.parametrize(
    "page", ["Losses by hyperparameter", "Losses by pairs of hyperparameters", "Trials in parallel coordinates"]
)
def test_names_of_categories_are_short_and_do_not_lie_over_each_other(page, study_of_names, monkeypatch, tmp_path):
    figure = looks_of(study_of_names, page, monkeypatch, tmp_path)
    shown = []
    for axes in figure.axes:
        below, beside = ([label for label in labels if label.get_text()] for labels in
                         (axes.get_xticklabels(), axes.get_yticklabels()))  # fmt: skip
        shown += [label.get_text() for label in [*below, *beside]]
        upright = [label.get_window_extent() for label in below if label.get_rotation() == 0]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(upright, 2))
    categories = {text for text in shown if text.endswith((".gz", "factor"))}
    assert categories == {shorten_name(path) for path in PATHS[:3]} and max(map(len, categories)) == 16


def test_shares_and_whole_numbers_are_named_as_such(study_of_names, monkeypatch, tmp_path):
    figure = looks_of(study_of_names, "Distribution of losses", monkeypatch, tmp_path)
    assert figure.axes[0].get_ylabel() == "share of trials"
    assert all(line.get_drawstyle() == "steps-post" for line in figure.axes[0].lines)
    parallel = looks_of(study_of_names, "Trials in parallel coordinates", monkeypatch, tmp_path)
    whole = [axes for axes in parallel.axes if axes.get_ylim() == (1.0, 4.0) and axes.get_yscale() == "linear"]
    assert whole and all(float(tick).is_integer() for axes in whole for tick in axes.get_yticks())
