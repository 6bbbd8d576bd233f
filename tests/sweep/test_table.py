"""The table of a sweep shows validation metrics only; the array script runs what it says."""

import csv
import io
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.sweep.arguments import SweepArguments
from finetune.sweep.slurm import write_array_script
from finetune.sweep.table import SEEDS_TABLE, SweepRow, sort_rows, validation_metrics, write_sweep_table

ROWS = [
    SweepRow("lr=1,seed=1", {"lr": "1", "seed": "1"}, "done", metrics={"validation.f1": 0.5}),
    SweepRow("lr=1,seed=2", {"lr": "1", "seed": "2"}, "done", metrics={"validation.f1": 0.75}),
    SweepRow("lr=3,seed=1", {"lr": "3", "seed": "1"}, "failed", "no memory, sorry"),
    SweepRow("lr=3,seed=2", {"lr": "3", "seed": "2"}, "done", metrics={"validation.f1": 0.25}),
]


def test_metrics_of_tests_are_left_out():
    result = {
        "validation": {"f1": 0.5, "loss": 1.25},
        "test": {"f1": 0.9},
        "eval_loss": 2.0,
        "test_loss": 1.0,
        "predict_f1": 0.9,
        "blimp": {"accuracy": 1.0},
        "seed": 3,
        "resumed": True,
        "name": "x",
    }
    assert validation_metrics(result) == {"validation.f1": 0.5, "validation.loss": 1.25, "eval_loss": 2.0}


def test_the_table_and_the_one_over_seeds(tmp_path):
    rows = list(csv.DictReader(io.StringIO(write_sweep_table(tmp_path, ROWS))))
    assert [row["validation.f1"] for row in rows] == ["0.5", "0.75", "NA", "0.25"]
    assert rows[2]["status"] == "failed" and rows[2]["reason"] == "no memory, sorry"
    over = list(csv.DictReader((tmp_path / SEEDS_TABLE).open(encoding="utf-8")))
    assert over[0] == {
        "lr": "1",
        "runs": "2",
        "validation.f1 mean": "0.625",
        "validation.f1 deviation": "0.176777",  # sqrt(2 * 0.125 ** 2 / (2 - 1))
    }
    assert over[1]["runs"] == "1" and over[1]["validation.f1 deviation"] == "NA"


def test_the_best_first_whichever_way_is_better():
    assert sort_rows(ROWS, "validation.f1")[0].name == "lr=1,seed=2"
    assert sort_rows(ROWS, "validation.f1")[-1].status == "failed"
    losses = [SweepRow(str(loss), {}, "done", metrics={"eval_loss": loss}) for loss in (2.0, 1.0)]
    assert sort_rows(losses, "eval_loss")[0].name == "1.0"


def run_task(script, task, tmp_path):
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/requeued\n')
    (tmp_path / "scontrol").chmod(0o755)
    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_JOB_ID": "77"}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    return subprocess.run(["bash", str(script)], env=environment, check=False).returncode


@pytest.mark.parametrize(("per_task", "last"), [(1, 4), (2, 2)])
def test_each_task_of_the_array_does_its_own_commands(tmp_path, per_task, last):
    commands = [["touch", str(tmp_path / f"it's {number}")] for number in range(5)]
    script = write_array_script(
        tmp_path / "s", commands, at_once=3, options=["gres=gpu:1", "--mem=4G"], per_task=per_task
    )
    text = script.read_text(encoding="utf-8")
    assert f"#SBATCH --array=0-{last}%3\n" in text and "#SBATCH --gres=gpu:1\n#SBATCH --mem=4G\n" in text
    assert run_task(script, last, tmp_path) == 0
    assert {path.name for path in tmp_path.glob("it's *")} == {"it's 4"}
    assert run_task(script, 0, tmp_path) == 0
    assert len(list(tmp_path.glob("it's *"))) == 1 + per_task


def test_an_interrupted_task_is_requeued_and_a_failed_one_fails(tmp_path):
    script = write_array_script(tmp_path / "s", [["sh", "-c", "exit 75"], ["sh", "-c", "exit 2"]])
    assert run_task(script, 0, tmp_path) == 75
    assert (tmp_path / "requeued").read_text() == "requeue 77_0\n"
    assert run_task(script, 1, tmp_path) == 2


def test_more_runs_than_an_array_may_have_share_tasks(tmp_path):
    text = write_array_script(tmp_path, [["true"]] * 2500).read_text(encoding="utf-8")
    assert "--array=0-833\n" in text  # three a task


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
AWKWARD = [
    "two words",
    "",
    "'",
    '"',
    "$(touch broken)",
    "`touch broken`",
    "a\nb",
    "-x",
    "--",
    "*",
    "\\",
    ";",
    "&",
    "ไทย",
]


@pytest.mark.slow
@settings(max_examples=25)
@given(words=st.lists(st.one_of(st.sampled_from(AWKWARD), WORDS), max_size=5))
def test_words_reach_a_run_of_the_array_as_they_are(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("awkward $(x) 'y'")
    write = "import json, sys; json.dump(sys.argv[2:], open(sys.argv[1], 'w'))"
    command = [sys.executable, "-c", write, str(folder / "seen.json"), *words]
    script = write_array_script(folder / "s", [["false"], command])
    assert run_task(script, 1, folder) == 0
    assert json.loads((folder / "seen.json").read_text()) == words
    assert {path.name for path in folder.iterdir()} <= {"s", "seen.json", "scontrol", "requeued"}


@pytest.mark.parametrize("text", ["gres=gpu:1\ntouch broken", "time=1\r", "a\u2028b"])
def test_an_option_is_one_line(text):
    asked = SweepArguments(command="run_ner", output_dir="s", slurm=True, slurm_options=["mem=1G", text])
    (problem,) = asked.problems()
    assert "--slurm_options" in problem.found and "line end" in problem.found
    assert len(SweepArguments(command="run_ner", output_dir=f"s{text}", slurm=True).problems()) == 1
