"""Samplers and pruners by name, studies that are joined, storages of every kind."""

import logging
import subprocess
import sys
import time

import optuna
import pytest

from finetune.errors import RunError, UsageError
from finetune.search.arguments import STUDY_DEFAULTS
from finetune.search.pruning import TextwisePruner
from finetune.search.space import Dimension
from finetune.search.storage import (
    JournalLock,
    hide_password,
    holds_password,
    open_journal,
    open_storage,
    quiet_optuna,
)
from finetune.search.study import SamplerMaker, build_pruner, name_study, open_study, seed_of

LR = Dimension("lr", ("train_optimizer_kwargs", "lr"), "float", (1e-6, 1e-4), {"log": True})
BATCH = Dimension("batch", ("batch",), "categorical", (8, 16))


@pytest.fixture(autouse=True)
def quiet():
    quiet_optuna()


def make_sampler(seed=0, dimensions=(LR,), **study_kwargs):
    return SamplerMaker({**STUDY_DEFAULTS, **study_kwargs}, dimensions, seed)


def draw(maker, count, study=None):
    study = study or optuna.create_study()
    values = []
    for _ in range(count):
        trial = study.ask()
        study.sampler = maker(trial.number)
        values.append(LR.suggest(trial))
        study.tell(trial, abs(values[-1] - 3e-5))
    return values


def test_the_default_sampler_is_a_gaussian_process_and_runs():
    assert make_sampler().kind is optuna.samplers.GPSampler
    maker = make_sampler(sampler_kwargs={"deterministic_objective": True, "n_startup_trials": 2})
    values = draw(maker, 4)  # two at random, then by the process
    assert len(set(values)) == 4 and all(1e-6 <= value <= 1e-4 for value in values)


@pytest.mark.parametrize("name", ["TPESampler", "RandomSampler", "QMCSampler"])
def test_draws_depend_on_seed_and_history_not_on_starts(name):
    kwargs = {"sampler": f"optuna.samplers.{name}"}
    whole = draw(make_sampler(5, **kwargs), 6)
    study = optuna.create_study()
    parts = draw(make_sampler(5, **kwargs), 3, study) + draw(make_sampler(5, **kwargs), 3, study)
    assert parts == whole
    assert draw(make_sampler(6, **kwargs), 6) != whole


def test_two_processes_with_one_seed_draw_different_values():
    """Both begin anew: what they draw must not be the same."""
    study = optuna.create_study()
    trials = []
    for maker in (make_sampler(5, sampler="optuna.samplers.RandomSampler") for _ in range(2)):
        trial = study.ask()
        study.sampler = maker(trial.number)
        trials.append(LR.suggest(trial))
    assert trials[0] != trials[1]


def test_defaults_of_another_sampler_are_left_out_but_what_was_typed_is_judged():
    assert make_sampler(sampler="optuna.samplers.TPESampler").keywords == {}
    with pytest.raises(
        UsageError, match=r"n_startup_trails is no keyword of TPESampler; did you mean 'n_startup_trials'"
    ):
        make_sampler(sampler="optuna.samplers.TPESampler", sampler_kwargs={"n_startup_trails": 3})


def test_samplers_within_samplers():
    keywords = {"independent_sampler": "optuna.samplers.RandomSampler", "deterministic_objective": True}
    assert isinstance(
        make_sampler(sampler_kwargs=keywords).keywords["independent_sampler"], optuna.samplers.RandomSampler
    )


def textwise(test):
    return TextwisePruner(test, dict, lambda _trial: None)


def test_the_default_pruner_is_the_documented_one_text_by_text():
    pruner = build_pruner(STUDY_DEFAULTS, textwise)
    assert isinstance(pruner, optuna.pruners.PatientPruner) and pruner._patience == 30
    assert isinstance(pruner._wrapped_pruner, TextwisePruner)
    assert (pruner._wrapped_pruner.test._p_threshold, pruner._wrapped_pruner.test._n_startup_steps) == (0.1, 100)


def test_other_pruners():
    assert isinstance(build_pruner({**STUDY_DEFAULTS, "pruner": None}, textwise), optuna.pruners.NopPruner)
    median = build_pruner({**STUDY_DEFAULTS, "pruner": "optuna.pruners.MedianPruner"}, textwise)
    assert isinstance(median, optuna.pruners.MedianPruner)
    alone = {"pruner": "optuna.pruners.WilcoxonPruner", "pruner_kwargs": {"p_threshold": 0.01}}
    assert isinstance(build_pruner(alone, textwise), TextwisePruner)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"pruner": "optuna.pruners.WilcoxonPruner", "pruner_kwargs": {"p_threshold": 7}},
        {"pruner": "optuna.pruners.MedianPruner", "pruner_kwargs": {"n_startup": 7}},
        {"pruner": "os.system"},
        {"pruner": "optuna.samplers.TPESampler"},
    ],
)
def test_pruners_that_are_none(kwargs):
    with pytest.raises(UsageError):
        build_pruner(kwargs, textwise)


def test_a_study_of_another_setting_is_not_joined(tmp_path):
    storage, pruner = open_journal(tmp_path / "j.log"), optuna.pruners.NopPruner()
    sampler = optuna.samplers.RandomSampler()
    open_study(storage, "s", {"epochs": 3, "params": {"lr": {"values": [1e-6, 1e-4]}}}, sampler, pruner)
    open_study(storage, "s", {"epochs": 3, "params": {"lr": {"values": [1e-6, 1e-4]}}}, sampler, pruner)
    with pytest.raises(UsageError, match="--epochs was 3, is now 4"):
        open_study(storage, "s", {"epochs": 4, "params": {"lr": {"values": [1e-6, 1e-4]}}}, sampler, pruner)


def test_names_and_seeds_of_studies():
    assert name_study({}, [LR, BATCH]) == "objective_minimize_loss-lr_1e-06_0.0001-batch_8_16"
    long = [Dimension(f"dimension_{number}", ("x",), "float", (0.0, 1.0)) for number in range(40)]
    assert len(name_study({}, long)) < 256
    assert seed_of("a") == seed_of("a") != seed_of("b")


def test_journals_by_default_by_path_and_by_class(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_storage({"storage": None, "storage_kwargs": {}}, tmp_path / "out").create_new_study(
        [optuna.study.StudyDirection(1)]
    )
    assert (tmp_path / "out" / "journal.log").stat().st_size > 0
    open_storage({"storage": "elsewhere/j.log"}, tmp_path)
    published = {
        "log_storage": "optuna.storages.journal.JournalFileBackend",
        "log_storage_kwargs": {
            "file_path": "./outputs/x/optuna_journal_storage.log",
            "lock_obj": "optuna.storages.journal.JournalFileOpenLock",
            "lock_obj_kwargs": {"filepath": "./outputs/x/optuna_journal_storage.log"},
        },
    }
    open_storage({"storage": "optuna.storages.JournalStorage", "storage_kwargs": published}, tmp_path)
    assert (tmp_path / "elsewhere/j.log").is_file() and (tmp_path / "outputs/x/optuna_journal_storage.log").is_file()


def test_databases_by_url_by_class_and_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kwargs in (
        {"storage": "optuna.storages.RDBStorage", "storage_kwargs": {"url": "sqlite:///b.db"}},
        {"storage": "env:STUDY_URL"},
    ):
        monkeypatch.setenv("STUDY_URL", "sqlite:///c.db")
        assert open_storage(kwargs, tmp_path).get_all_studies() == []
    assert {path.name for path in tmp_path.glob("*.db")} == {"b.db", "c.db"}


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"storage": "jornal"}, UsageError),
        ({"storage": "env:NOT_THERE"}, UsageError),
        ({"storage": "postgresql+nodriver://a:b@c/d"}, (UsageError, RunError)),
        ({"storage": "sqlite:////not/there/a.db"}, RunError),
        ({"storage": "x/j.log", "storage_kwargs": {"url": "sqlite:///a.db"}}, UsageError),
        ({"storage": "JournalStorage", "storage_kwargs": {"log_storage": "JournalRedisBackend"}}, UsageError),
    ],
)
def test_storages_that_are_none(kwargs, error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error):
        open_storage(kwargs, tmp_path)


def test_half_a_line_at_the_end_of_a_journal_is_cut_off(tmp_path, caplog):
    path = tmp_path / "j.log"
    study = optuna.create_study(storage=open_journal(path), study_name="s")
    study.tell(study.ask(), 1.0)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "trial_')
    with caplog.at_level(logging.WARNING):
        again = optuna.load_study(study_name="s", storage=open_journal(path))
    assert path.read_bytes() == whole and "22 bytes" in caplog.text
    again.tell(again.ask(), 2.0)
    assert len(optuna.load_study(study_name="s", storage=open_journal(path)).trials) == 2


def test_a_process_killed_while_it_writes_leaves_no_lock(tmp_path):
    """Optuna's own lock is a link that stays, and that nobody ever removes where the path is relative."""
    program = (
        "import os, signal, sys; from pathlib import Path; from finetune.search.storage import JournalLock\n"
        "JournalLock(Path(sys.argv[1])).acquire(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "j.log"
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    study = optuna.create_study(storage=open_journal(path), study_name="s")
    study.tell(study.ask(), 1.0)
    assert len(optuna.load_study(study_name="s", storage=open_journal(path)).trials) == 1


def test_writers_wait_for_each_other(tmp_path):
    path, order = tmp_path / "j.log", tmp_path / "order"
    program = (
        "import sys, time; from pathlib import Path; from finetune.search.storage import JournalLock\n"
        "lock = JournalLock(Path(sys.argv[1])); lock.acquire(); Path(sys.argv[2]).touch(); time.sleep(1)\n"
        "Path(sys.argv[2]).write_text('released')"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(path), str(order)])
    while not order.exists():
        time.sleep(0.02)
    lock = JournalLock(path)
    lock.acquire()
    assert order.read_text() == "released"
    lock.release()
    other.wait()


def test_passwords_are_hidden():
    assert hide_password("mysql://me:secret@host/db") == "mysql://me:***@host/db"
    assert holds_password({"storage": "mysql://me:secret@host/db"}) and not holds_password(
        {"storage": "mysql://host/db"}
    )


def test_a_range_without_steps_cannot_be_visited_in_full():
    with pytest.raises(UsageError, match="cannot visit all of lr"):
        make_sampler(sampler="optuna.samplers.BruteForceSampler")


def test_a_sampler_whose_package_is_missing_is_told_before_training(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="CmaEsSampler needs the package cmaes"):
        make_sampler(sampler="optuna.samplers.CmaEsSampler")
