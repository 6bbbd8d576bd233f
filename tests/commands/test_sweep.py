"""sweep.py through its command line: mistakes of all runs at once, runs, skipping, a Slurm array."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def words(tmp_path, minilm_folder, monkeypatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    Path("docs.txt").write_text("A dog.\nIt barks.\n\nA cat.\nIt sleeps.\n", encoding="utf-8")
    return ["--train_corpus", "docs.txt", "--bert_model", str(minilm_folder), "--epochs_to_generate", "1"]


def test_runs_are_done_and_then_skipped(words, call_command, tmp_path):
    sweep = ["sweep.py", "pregenerate_training_data", "--output_dir", "s", "--grid", "max_seq_len=32"]
    done = call_command(*sweep, "--", *words)
    assert done.code == 0 and done.last["done"] == 1, done.stderr
    rows = list(csv.DictReader((tmp_path / "s" / "sweep_results.csv").open(encoding="utf-8")))
    assert [(row["run"], row["status"]) for row in rows] == [("max_seq_len=32", "done")]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").glob("max_seq_len=*/*")}
    again = call_command(*sweep, "--", *words)
    assert again.code == 0 and "1 of them finished already" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "s").glob("max_seq_len=*/*")} == before


def test_bad_input_comes_at_once_and_starts_nothing(words, call_command, tmp_path):
    wrong = call_command(
        *("sweep.py", "pregenerate_training_data", "--output_dir", "s", "--grid", "max_seq_len=32,2", "seeds=1"),
        *("--", *words),
    )
    assert wrong.code == 2 and "did you mean 'seed'" in wrong.stderr
    wrong = call_command(
        *("sweep.py", "pregenerate_training_data", "--output_dir", "s", "--grid", "max_seq_len=32,2", "seed=1,x"),
        *("--", *words, "--short_seq_prob", "7"),
    )
    assert wrong.code == 2
    assert all(part in wrong.stderr for part in ("--max_seq_len", "--seed", "--short_seq_prob")), wrong.stderr
    assert not (tmp_path / "s").exists()
    unknown = call_command("sweep.py", "run_nre", "--output_dir", "s", "--grid", "a=1")
    assert unknown.code == 2 and "run_ner" in unknown.stderr
    assert call_command("sweep.py", "split", "--output_dir", "s", "--grid", "seed=1").code == 2


def test_a_dry_run_and_a_slurm_array_name_the_same_commands(words, call_command, tmp_path):
    Path("grid.yaml").write_text("max_seq_len: [32, 64]\nseed: [1, 2]\nmasked_lm_prob: 0.2\n", encoding="utf-8")
    sweep = ["sweep.py", "pregenerate_training_data", "--output_dir", "s", "--grid_file", "grid.yaml"]
    dry = call_command(*sweep, "--dry_run", "--", *words)
    assert dry.code == 0 and dry.last["runs"] == 4 and not (tmp_path / "s").exists()
    done = call_command(*sweep, "--slurm", "--slurm_options", "gres=gpu:1", "time=01:00:00", "--", *words)
    assert done.code == 0, done.stderr
    commands = json.loads((tmp_path / "s" / "commands.json").read_text())
    assert [command[2:] for command in commands] == [
        [
            *words,
            "--max_seq_len",
            length,
            "--seed",
            seed,
            "--masked_lm_prob",
            "0.2",
            "--output_dir",
            f"s/max_seq_len={length},seed={seed}",
        ]
        for length in ("32", "64")
        for seed in ("1", "2")
    ]
    assert "#SBATCH --time=01:00:00" in (tmp_path / "s" / "sweep.sbatch").read_text()
    assert subprocess.run(["bash", "-n", "s/sweep.sbatch"], check=False).returncode == 0


@pytest.mark.parametrize(
    "typed",
    [
        ("--token", "s3cr3t-Xq7vLp"),
        ("--token=s3cr3t-Xq7vLp",),
        ("--token", "abc"),
        ("--tokenizer_kwargs.token", "s3cr3t-Xq7vLp"),
        ("--hub_token", "s3cr3t-Xq7vLp"),
        ("--tokenizer_kwargs", '{"password": "s3cr3t-Xq7vLp"}'),
        ("--tokenizer_kwargs.proxy", "https://user:s3cr3t-Xq7vLp@host.invalid/"),
    ],
)
def test_no_secret_comes_into_the_list_of_commands(typed, call_command, tiny_bert, tmp_path):
    folder = tmp_path / "s"
    sweep = ("sweep.py", "run_ner", "--output_dir", folder, "--grid", "seed=1,2", "--slurm", "--")
    words = ("--model_name_or_path", tiny_bert, "--dataset_name", "sample", "--do_train")
    done = call_command(*sweep, *words, *typed)
    assert done.code == 2 and "s3cr3t" not in done.stderr + done.stdout, done.stderr
    if not typed[0].startswith("--tokenizer_kwargs"):  # which run_ner does not take
        assert "a secret (a token, or a password in an address) would stand in" in str(done.last["reason"])
    assert not (folder / "commands.json").exists()
