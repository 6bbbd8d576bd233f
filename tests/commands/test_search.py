"""finetune_lm.py --do_optimize through its command line: the documented commands, kills, retraining; sweep.py over it."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests import tiny

SCRIPT = "finetune_lm.py"
SUBJECTS, VERBS, OBJECTS = ("the cat", "a dog", "my friend"), ("saw", "liked", "blorked"), ("a ball", "the house", "it")


def write_sentences(path: Path, count: int, seed: int) -> None:
    draw = random.Random(seed).choice
    lines = [f"{draw(SUBJECTS)} {draw(VERBS)} {draw(OBJECTS)}.\n" for _ in range(count)]
    path.write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A tiny GPT-2 and its texts."""
    root = tmp_path_factory.mktemp("search")
    for seed, (name, count) in enumerate((("train", 24), ("dev", 16), ("wiki", 12), ("childes", 8), ("test", 3))):
        write_sentences(root / f"{name}.txt", count, seed)
    tokenizer = tiny.byte_level((root / "train.txt").read_text(encoding="utf-8").splitlines(), 280)
    model = tiny.gpt2(len(tokenizer), bos_token_id=0, eos_token_id=0)
    tiny.save(model, tokenizer, root / "gpt2")
    return root


@pytest.fixture
def base(place, monkeypatch) -> list[str]:
    monkeypatch.chdir(place)
    files = ["--train_file", "train.txt", "--validation_file", "dev.txt", "--test_file", "test.txt"]
    return ["--model_name_or_path", "gpt2", *files, "--epochs", "2"]


def read_rows(folder: Path) -> list[dict[str, str]]:
    with gzip.open(folder / "optimization_results.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


LR = ["--params.lr.values", "1e-3", "1e-2", "--params.lr.suggest_kwargs.log"]


def test_a_search_its_files_and_its_best_trial_again(place, base, call_command):
    search = [*base, "--do_optimize", "--max_trials", "3", *LR, "--output_dir", "plain"]
    done = call_command(SCRIPT, *search)
    assert done.code == 0 and done.last["trials"] == {"complete": 3}, done.stderr
    folder = place / "plain"
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    best = f"trial-{done.last['best_trial']}"
    assert names == {
        *("optimization_results.csv.gz", "optimization_plots.pdf", "config.txt", "best_trial.yaml", "journal.log"),
        *("run.json", "run.log", "metrics.json", "report.html", "plots", "optimization_importances.json", best),
    }
    rows = read_rows(folder)
    assert min(float(row["value"]) for row in rows) == done.last["validation_loss"]
    assert all(1e-3 <= float(row["params_lr"]) <= 1e-2 for row in rows)
    assert (folder / best / "model" / "model.safetensors").is_file()
    assert (folder / "config.txt").read_text().count("# trial ") == 3
    assert "fewer than n_startup_steps" not in (folder / "run.log").read_text()  # patience comes first
    assert "PatientPruner" not in done.stdout and "by a signed-rank test" in (folder / "run.log").read_text()

    again = call_command(SCRIPT, *search)
    assert again.code == 0 and again.last["status"] == "already_done"

    once = call_command(SCRIPT, "--config_file", folder / "best_trial.yaml", "--output_dir", "once")
    assert once.code == 0, once.stderr
    assert once.last["validation"]["validation_loss"] == done.last["validation_loss"]
    assert once.last["test"]["test"]["texts"] == 3
    kept, trained = folder / best / "model" / "model.safetensors", place / "once" / "model" / "model.safetensors"
    assert kept.read_bytes() == trained.read_bytes()


def test_the_documented_keywords_and_a_scale_for_each_data_set(place, base, call_command):
    done = call_command(
        SCRIPT,
        *(*base, "--do_optimize", "--optimize_kwargs.n_trials", "2", *LR, "--seed", "4"),
        *("--study_kwargs.sampler", "optuna.samplers.TPESampler", "--study_kwargs.sampler_kwargs", "__delete_field__"),
        *("--study_kwargs.pruner_kwargs.wrapped_pruner_kwargs.n_startup_steps", "0"),
        *("--study_kwargs.pruner_kwargs.patience", "0", "--optimize_kwargs.show_progress_bar"),
        *("--loss_classes.train", "loss_classes.OutputsDefaultLoss", "loss_classes.KLBaselineLoss"),
        *("--loss_classes_kwargs.train.KLBaselineLoss.dataset", "wiki.txt", "childes.txt"),
        *("--loss_classes_kwargs.train.KLBaselineLoss.scaleby", "1.0", "1.0"),
        *("--loss_classes_kwargs.train.KLBaselineLoss.n_examples_per_batch", "4"),
        *(
            "--params.train_KLBaselineLoss_scaleby.values",
            "1",
            "50",
            "--params.train_KLBaselineLoss_scaleby.type",
            "int",
        ),
        *("--params.train_KLBaselineLoss_scaleby.suggest_kwargs.log", "--study_kwargs.load_if_exists"),
        *("--study_kwargs.storage", "optuna.storages.JournalStorage"),
        *("--study_kwargs.storage_kwargs.log_storage", "optuna.storages.journal.JournalFileBackend"),
        *("--study_kwargs.storage_kwargs.log_storage_kwargs.file_path", "'./shared/optuna_journal_storage.log'"),
        *("--output_dir", "documented"),
    )
    assert done.code == 0, done.stderr
    assert set(done.last["best_params"]) == {"lr", "train_KLBaselineLoss_scaleby_0", "train_KLBaselineLoss_scaleby_1"}
    rows = read_rows(place / "documented")
    scales = {row["params_train_KLBaselineLoss_scaleby_1"] for row in rows}
    assert len(rows) == 2 and all(scale.isdigit() for scale in scales) and len(scales) > 1
    assert (place / "shared" / "optuna_journal_storage.log").is_file()


def test_the_smaller_examples_of_the_document(base, call_command):
    """--params.lr.values 1e-5 1e-4 --use_gpu False; a whole learning rate searched as a float; bad input at once."""
    small = [*base, "--do_optimize", "--dry_run", "--use_gpu", "False"]
    done = call_command(SCRIPT, *small, "--params.lr.values", "1e-5", "1e-4")
    assert done.code == 0 and done.last["searched"] == ["lr"], done.stderr
    done = call_command(
        *(SCRIPT, *small, "--train_optimizer_kwargs.lr", "1"),
        *("--params.lr.values", "0.1", "1", "--params.lr.type", "float"),
    )
    assert done.code == 0, done.stderr
    wrong = call_command(
        *(SCRIPT, *small, "--params.lrr.values", "1", "2", "--study_kwargs.sampler", "TPESampelr"),
        *("--study_kwargs.pruner", "os.system", "--optimize_kwargs.n_jobs", "2", "--params.epochs.values", "0", "3"),
    )
    assert wrong.code == 2
    for part in ("lrr", "TPESampler", "os.system", "n_jobs", "epochs must be at least 1"):
        assert part in wrong.stderr, wrong.stderr


def test_diverging_values_count_as_pruned(place, base, call_command):
    words = ["--params.lr.values", "1e30", "1e31", "--do_optimize", "--max_trials", "2", "--output_dir", "diverged"]
    done = call_command(SCRIPT, *base, *words)
    assert done.code == 1 and "is complete (2 pruned), so nothing was found" in done.last["reason"], done.stderr
    assert all(row["attrs_reason"] not in ("", "NA") for row in read_rows(place / "diverged"))


def read_points(folder: Path) -> list[tuple[float, int]]:
    done = [row for row in read_rows(folder) if row["state"] == "COMPLETE"]
    return [(float(row["params_lr"]), int(row["params_per_device_train_batch_size"])) for row in done]


@pytest.mark.parametrize("storage", ["points/j.log", "sqlite:///points.db"])
def test_a_grid_is_walked_once_by_two_commands_at_once(place, base, repository, storage):
    """No number of trials is given: all points of three batch sizes and the two rates of the configuration."""
    sizes = ["--params.per_device_train_batch_size.values", "4", "8", "16"]
    grid = [*sizes, "--params.per_device_train_batch_size.type", "categorical", "--epochs", "1", "--do_optimize"]
    grid += ["--study_kwargs.sampler", "GridSampler", "--study_kwargs.storage", storage]
    root = f"points-{storage.partition(':')[0].replace('/', '-')}"
    command = [sys.executable, str(repository / "scripts" / SCRIPT), *base, *grid, "--output_dir"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([*command, f"{root}-{name}"], cwd=place, env=environment, stderr=subprocess.DEVNULL)
        for name in "ab"
    ]
    assert [process.wait(timeout=280) for process in started] == [0, 0]
    assert sorted(read_points(place / f"{root}-a")) == [(lr, size) for lr in (2e-6, 2e-5) for size in (4, 8, 16)]


@pytest.mark.parametrize(
    ("sampler", "hidden", "told"),
    [
        ("CmaEsSampler", "cmaes", "CmaEsSampler needs the package cmaes, which is not installed"),
        ("GPSampler", "scipy", "GPSampler needs the package scipy, which is not installed"),
        ("BruteForceSampler", None, "BruteForceSampler cannot visit all of lr"),
    ],
)
def test_a_sampler_without_what_it_needs_is_told_before_training(
    place, base, call_command, monkeypatch, sampler, hidden, told
):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *further: None if name == hidden else find(name))
    words = ["--do_optimize", "--max_trials", "2", *LR, "--study_kwargs.sampler", sampler, "--output_dir", "needs"]
    done = call_command(SCRIPT, *base, *words)
    assert done.code == 2 and told in done.last["reason"], done.stderr
    assert not (place / "needs").exists() or not (place / "needs" / "journal.log").exists()


def test_another_setting_is_not_mixed_into_a_study(place, base, call_command):
    study = ["--do_optimize", "--max_trials", "1", *LR, "--study_kwargs.storage", "mixed/j.log"]
    assert call_command(SCRIPT, *base, *study, "--output_dir", "mixed/a").code == 0
    other = call_command(SCRIPT, *base, *study, "--max_length", "16", "--output_dir", "mixed/b")
    assert other.code == 2 and "--max_length was 1024, is now 16" in other.stderr


def start(place: Path, name: str, repository: Path) -> subprocess.Popen:
    words = [
        "--model_name_or_path",
        "gpt2",
        "--train_file",
        "train.txt",
        "--validation_file",
        "dev.txt",
        "--epochs",
        "12",
    ]
    words += ["--do_optimize", "--max_trials", "4", *LR, "--study_kwargs.storage", "killed/j.log"]
    words += ["--study_kwargs.sampler", "RandomSampler", "--output_dir", f"killed/{name}"]
    command = [sys.executable, str(repository / "scripts" / SCRIPT), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def wait_until_training(place: Path, name: str, process: subprocess.Popen) -> None:
    log = place / "killed" / name / "run.log"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if log.is_file() and "eval_loss" in log.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(f"{name} ended or hangs")


@pytest.mark.slow
def test_two_killed_and_restarted_processes_end_with_the_exact_total(place, repository):
    first = [start(place, name, repository) for name in "ab"]
    for name, process in zip("ab", first, strict=True):
        wait_until_training(place, name, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    again = [start(place, name, repository) for name in "ab"]
    lines = [json.loads(process.communicate(timeout=280)[0].strip().splitlines()[-1]) for process in again]
    assert [process.returncode for process in again] == [0, 0]
    for name, line in zip("ab", lines, strict=True):
        states = Counter(row["state"] for row in read_rows(place / "killed" / name))
        assert states["COMPLETE"] + states["PRUNED"] == 4
        assert set(states) <= {"COMPLETE", "PRUNED", "FAIL"}
        assert Path(line["model"]).is_dir()
    assert lines[0]["best_trial"] == lines[1]["best_trial"]
    kept = sorted(path.name for path in (place / "killed").glob("*/trial-*"))
    assert len(kept) <= 2 and f"trial-{lines[0]['best_trial']}" in kept


def test_a_search_without_a_complete_trial_is_not_done(place, base, call_command):
    pruner = ["--study_kwargs.pruner", "ThresholdPruner", "--study_kwargs.pruner_kwargs", 'json:{"upper": 1e-6}']
    done = call_command(SCRIPT, *base, "--do_optimize", "--max_trials", "2", *LR, *pruner, "--output_dir", "pruned")
    assert (done.code, done.last["status"]) == (1, "failed"), done.stderr
    assert "is complete (2 pruned), so nothing was found" in done.last["reason"]
    assert [row["state"] for row in read_rows(place / "pruned")] == ["PRUNED"] * 2


def test_missing_texts_are_told_together_and_names_stand_in_the_help(place, base, call_command):
    words = [word.replace(".txt", ".csv") for word in base]
    done = call_command(SCRIPT, *words, "--output_dir", "nowhere")
    assert done.code == 2 and not (place / "nowhere").exists()
    assert all(f"check --{name}_file" in done.last["reason"] for name in ("train", "validation", "test"))
    shown = call_command(SCRIPT, "--help").stdout
    for name in ("mask_random_tokens", "KLBaselineLoss", "add_new_tokens", "GridSampler", "PatientPruner"):
        assert name in shown.partition("by name:")[2]
