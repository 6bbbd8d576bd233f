"""search.py through its command line: trials of a command, pruning, signals, several workers on PostgreSQL."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from finetune.search.storage import open_storage, quiet_optuna
from finetune.search.turns import SURPLUS

WORDS = {"good": ("fine", "great", "lovely"), "bad": ("awful", "poor", "dull")}
GRID = ["--study_kwargs.sampler", "GridSampler", "--params.learning_rate.values", "1e-3", "1e-2"]


def write_rows(path: Path, count: int, seed: int) -> None:
    draw = random.Random(seed)
    labels = [draw.choice(sorted(WORDS)) for _ in range(count)]
    rows = [{"text": f"a {draw.choice(WORDS[label])} film", "label": label} for label in labels]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_bert) -> Path:
    root = tmp_path_factory.mktemp("command_search")
    for seed, name in enumerate(("train", "dev", "test")):
        write_rows(root / f"{name}.jsonl", 24, seed)
    shutil.copytree(tiny_bert, root / "bert")
    return root


@pytest.fixture
def trial(place, monkeypatch) -> list[str]:
    """The flags of every trial."""
    monkeypatch.chdir(place)
    files = ["--train_file", "train.jsonl", "--validation_file", "dev.jsonl", "--test_file", "test.jsonl"]
    return ["--model_name_or_path", "bert", *files, "--num_train_epochs", "2", "--do_train", "--do_eval"]


def read_rows(folder: Path) -> list[dict[str, str]]:
    with gzip.open(folder / "optimization_results.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_point_is_a_run_and_the_best_is_trained_again_and_tested_once(place, trial, call_command):
    search = ["search.py", "run_glue", "--output_dir", "s", "--metric", "accuracy", *GRID, "--", *trial, "--do_predict"]
    done = call_command(*search)
    assert done.code == 0 and done.last["trials"] == {"complete": 2}, done.stderr
    rows = read_rows(place / "s")
    assert sorted(float(row["params_learning_rate"]) for row in rows) == [1e-3, 1e-2]
    best = max(rows, key=lambda row: (float(row["value"]), -int(row["number"])))
    assert int(best["number"]) == done.last["best_trial"] and float(best["value"]) == done.last["best_value"]
    kept = list((place / "s" / "trials").iterdir())
    assert [path.name for path in kept] == [f"learning_rate={float(best['params_learning_rate'])!r}"]
    assert not list(kept[0].glob("*test*"))  # tests wait
    again = json.loads((place / "s" / "best" / "metrics.json").read_text())
    assert again["validation"]["accuracy"] == done.last["best_value"] and "test" in again
    weights = [(folder / "model.safetensors").read_bytes() for folder in (kept[0], place / "s" / "best")]
    assert weights[0] == weights[1]  # the same seed and values
    page = (place / "s" / "report.html").read_text(encoding="utf-8")
    assert "accuracy" in page and "validation loss" not in page.casefold()
    assert call_command(*search).last["status"] == "already_done"
    other = call_command(*search, "--weight_decay", "0.1")
    assert other.code == 2 and "weight_decay" in other.last["reason"]


def test_a_trial_that_is_behind_is_pruned(place, trial, call_command):
    pruner = ["--study_kwargs.pruner", "ThresholdPruner", "--study_kwargs.pruner_kwargs.lower", "2"]
    done = call_command(
        *("search.py", "run_glue", "--output_dir", "pruned", "--metric", "accuracy", "--max_trials", "1"),
        *(*pruner, "--params.learning_rate.values", "1e-4", "1e-3", "--", *trial, "--num_train_epochs", "200"),
    )
    assert done.code == 1 and "1 pruned" in done.last["reason"]
    [row] = read_rows(place / "pruned")
    assert row["state"] == "PRUNED" and int(row["epochs"]) < 200
    assert not list((place / "pruned" / "trials").iterdir())


def test_bad_input_comes_at_once_and_starts_nothing(place, trial, call_command):
    wrong = call_command(
        *("search.py", "run_glue", "--output_dir", "none", "--metric", "test_accuracy"),
        *("--params.learning_rat.values", "1e-5", "1e-4", "--params.output_dir.values", "a", "b"),
        *("--study_kwargs.pruner", "WilcoxonPruner", "--study_kwargs.direction", "up", "--", *trial),
    )
    assert wrong.code == 2 and not (place / "none").exists()
    for part in ("--metric test_accuracy", "WilcoxonPruner", "'up'"):
        assert part in wrong.last["reason"]
    wrong = call_command(
        *("search.py", "run_glue", "--output_dir", "none", "--metric", "accuracy"),
        *("--params.learning_rat.values", "1e-5", "1e-4", "--params.output_dir.values", "a", "b"),
        *("--params.max_eval_samples.values", "4", "8", "--", *trial),
    )
    assert wrong.code == 2 and not (place / "none").exists()
    for part in ("did you mean 'learning_rate'", "max_eval_samples", "--params.output_dir"):
        assert part in wrong.last["reason"]
    wrong = call_command(
        *("search.py", "run_glue", "--output_dir", "none", "--metric", "accuracy"),
        *("--params.num_train_epochs.values", "1", "2", "--", *trial, "--max_steps", "x", "--output_dir", "y"),
    )
    assert wrong.code == 2 and "--max_steps" in wrong.last["reason"] and "--output_dir" in wrong.last["reason"]
    for command, flag in (("finetune_lm", "--do_optimize"), ("split", "output folder"), ("predict", "trains no model")):
        refused = call_command("search.py", command, "--output_dir", "none", "--metric", "loss", *GRID, "--", *trial)
        assert refused.code == 2 and flag in refused.last["reason"]
    assert not (place / "none").exists()


def test_a_metric_that_no_evaluation_has_is_named_with_those_that_there_are(place, trial, call_command):
    wrong = call_command("search.py", "run_glue", "--output_dir", "f", "--metric", "f7", *GRID, "--", *trial)
    assert wrong.code == 1 and "accuracy" in wrong.last["reason"], wrong.stderr


def start(place: Path, folder: str, storage: str, *words: str) -> subprocess.Popen:
    script = Path(__file__).parents[2] / "scripts" / "search.py"
    return subprocess.Popen(
        [
            *(sys.executable, str(script), "run_glue", "--output_dir", folder, "--metric", "accuracy"),
            *(
                "--max_trials",
                "2",
                "--final",
                "False",
                "--params.learning_rate.values",
                "1e-4",
                "1e-2",
                "--study_kwargs.study_name",
                "s",
            ),
            *("--study_kwargs.storage", storage, "--", *words),
        ],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for(what, seconds: float = 120.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError("it never came")


def find_run_of(folder: Path) -> int | None:
    """The process id of the trial that runs in a folder of a search."""
    for record in (folder / "trials").glob("*/run.json"):
        host = json.loads(record.read_text()).get("host")
        assert host
        for status in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = status.read_bytes().split(b"\0")
            except OSError:
                continue
            if any(str(record.parent.name).encode() in word for word in words) and b"search.py" not in b"".join(words):
                return int(status.parent.name)
    return None


@pytest.mark.slow
def test_an_interrupted_search_goes_on_with_the_run_that_it_interrupted(place, trial):
    words = [*trial, "--num_train_epochs", "15"]
    first = start(place, "i", "i/journal.log", *words)
    wait_for(lambda: list((place / "i" / "trials").glob("*/checkpoint-*/complete.json")))
    first.send_signal(signal.SIGTERM)
    out, err = first.communicate(timeout=120)
    assert first.returncode == 75 and json.loads(out.splitlines()[-1])["status"] == "preempted", err
    second = start(place, "i", "i/journal.log", *words)
    out, err = second.communicate(timeout=400)
    last = json.loads(out.splitlines()[-1])
    assert second.returncode == 0 and last["trials"]["complete"] + last["trials"].get("pruned", 0) == 2, err
    assert any(
        "goes on" in log.read_text() or "Resuming" in log.read_text() for log in (place / "i/logs").glob("*.err")
    )


@pytest.fixture
def postgresql(tmp_path) -> Iterator[str]:
    """A server of our own, on a port of its own; its address."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    pytest.importorskip("psycopg")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = Path(f"/tmp/finetune-postgresql-{os.getpid()}")
    data.mkdir()
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if user:
        shutil.chown(data, "postgres")
    try:
        subprocess.run(
            [*user, str(found[-1] / "initdb"), "-D", data, "-A", "trust", "-U", "me"], check=True, stdout=-3, cwd="/"
        )
        server = [*user, str(found[-1] / "postgres"), "-D", data, "-p", str(port), "-c", "unix_socket_directories="]
        process = subprocess.Popen(server, stderr=subprocess.DEVNULL, cwd="/")
        ready = [str(found[-1] / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        wait_for(lambda: subprocess.run(ready, check=False).returncode == 0, 30)
        yield f"postgresql://me@127.0.0.1:{port}/postgres"
        process.terminate()
        process.wait(30)
    finally:
        shutil.rmtree(data, ignore_errors=True)


@pytest.mark.slow
def test_two_workers_on_postgresql_one_of_them_killed(place, trial, postgresql):
    words = [*trial, "--num_train_epochs", "15"]
    workers = [start(place, name, postgresql, *words) for name in ("a", "b")]
    run = wait_for(lambda: find_run_of(place / "a"))
    workers[0].kill()
    workers[0].communicate()
    _, err = workers[1].communicate(timeout=500)
    assert workers[1].returncode == 0, err
    assert not Path(f"/proc/{run}").exists()  # the killed worker's trial ended with it
    quiet_optuna()
    study = optuna.load_study(study_name="s", storage=open_storage({"storage": postgresql}, place))
    states = [each.state.name for each in study.trials if SURPLUS not in each.user_attrs]
    assert states.count("COMPLETE") + states.count("PRUNED") == 2 and "RUNNING" not in states
    assert any(each.user_attrs.get("given_up") for each in study.trials)
