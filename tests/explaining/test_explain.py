"""`finetune explain` of runs that are done, interrupted, old, and with secrets in their command line."""

from __future__ import annotations

import json
import shutil


def explain(call_command, folder, code=0):
    done = call_command("explain.py", folder)
    assert done.code == code, done.stderr
    return done


def test_a_run_on_one_screen(call_command, tiny_bert, tmp_path):
    data = tmp_path / "train.conll"
    data.write_text("ann\tB-PER\nran\tO\n\nthe\tO\nfox\tO\n\nbob\tB-PER\n\n" * 4)
    done = call_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--train_file", data, "--validation_file", data, "--do_train",
        "--do_eval", "--max_steps", 4, "--eval_steps", 2, "--eval_strategy", "steps", "--save_steps", 2, "--output_dir",
        tmp_path / "run", "--report_to", "none", "--hub_token", "hf_verysecretword", "--ema", 0.9, "--seed", 7,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    text = explain(call_command, tmp_path / "run").stdout
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before, "nothing is changed"
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())["validation"]
    for words in (
        *("run_ner.py, done", "train: 12 examples; labels O 12, B-PER 8", str(tiny_bert), "max_steps 4", "seed 7"),
        *("ema 0.9", "best of validation by", f"f1_micro {metrics['f1_micro']:.4g}", "repeat", "metrics.json"),
    ):
        assert words in text, words
    lines = text.splitlines()
    assert len(lines) <= 45 and max(map(len, lines[:-1])) <= 118
    assert "verysecretword" not in text


def test_runs_that_ended_early_and_old_ones(call_command, repository, tmp_path):
    old = repository / "tests/data/saved_runs/tagger"
    folder = shutil.copytree(old, tmp_path / "run")
    manifest = json.loads((folder / "run.json").read_text())
    assert "validation: f1_micro" in explain(call_command, folder).stdout
    again = {"status": "preempted", "reason": "SIGTERM", "resumed": ["2026-01-01T00:00:00+00:00"]}
    (folder / "run.json").write_text(json.dumps({**manifest, **again}))
    text = explain(call_command, folder).stdout
    assert "preempted: SIGTERM" in text and "interrupted 1 time; gone on at 2026-01-01" in text
    assert "goes on from checkpoint-2" in text
    (folder / "metrics.json").write_text("{")
    assert "metrics.json cannot be read" in explain(call_command, folder).stdout


def test_what_is_no_run_is_told(call_command, tmp_path):
    done = explain(call_command, tmp_path, code=2)
    assert "has no run.json" in done.last["reason"]
    done = explain(call_command, tmp_path / "nothing", code=2)
    assert "there is no such folder" in done.last["reason"]
