"""Folders that an earlier version saved: finished, interrupted, predicted with and scored, by today's commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

KINDS = {"tagger": ("run_ner.py", "conll"), "classifier": ("run_glue.py", "csv")}
TYPED = (
    *(
        "--model_name_or_path",
        "bert",
        "--do_train",
        "--do_eval",
        "--max_steps",
        "4",
        "--per_device_train_batch_size",
        "4",
    ),
    *("--learning_rate", "1e-3", "--eval_strategy", "steps", "--eval_steps", "2", "--save_steps", "2"),
    *("--logging_steps", "1", "--bf16", "False", "--seed", "3"),
)
RESULTS = ("model.safetensors", "metrics.json", "report.txt")


@pytest.fixture
def saved(tmp_path, monkeypatch, repository) -> Path:
    """The folders in a place of their own, which is the working directory, as it was when they were made."""
    folder = tmp_path / "oldrun"
    shutil.copytree(repository / "tests" / "data" / "saved_runs", folder)
    for kind in KINDS:
        manifest = folder / kind / "run.json"
        text = manifest.read_text(encoding="utf-8").replace("/tmp/oldrun", str(folder))
        manifest.write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


def name_command(kind: str) -> list[str]:
    script, suffix = KINDS[kind]
    files = ["--train_file", f"train.{suffix}", "--validation_file", f"dev.{suffix}"]
    return [script, *TYPED, *files, "--output_dir", kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_run_is_found_finished(kind, saved, call_command):
    done = call_command(*name_command(kind))
    assert (done.code, done.last["status"]) == (0, "already_done"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_run_goes_on_and_ends(kind, saved, call_command, resumed_step):
    manifest = saved / kind / "run.json"
    held = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**held, "status": "running"}), encoding="utf-8")
    for name in RESULTS:
        (saved / kind / name).unlink()
    done = call_command(*name_command(kind))
    assert done.code == 0, done.stderr
    assert resumed_step(saved / kind) == 2
    assert all((saved / kind / name).is_file() for name in RESULTS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_predicts_and_is_scored_as_it_was(kind, saved, call_command):
    (saved / "texts.txt").write_text("Ann met Bob in Rome\n", encoding="utf-8")
    command = ["--model_name_or_path", kind, "--input_file", "texts.txt", "--output_file", "out.jsonl"]
    done = call_command("predict.py", *command)
    assert done.code == 0, done.stderr
    answer = json.loads((saved / "out.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert len(answer["tags"]) == 5 if kind == "tagger" else answer["label"] in ("good", "bad")
    script, suffix = KINDS[kind]
    scored = call_command(
        script, "--model_name_or_path", kind, "--validation_file", f"dev.{suffix}", "--do_eval", "--bf16", "False",
        "--output_dir", "scores",
    )  # fmt: skip
    assert scored.code == 0, scored.stderr
    before, after = (json.loads((saved / name / "metrics.json").read_text())["validation"] for name in (kind, "scores"))
    assert after["loss"] == pytest.approx(before["loss"], rel=1e-5)
