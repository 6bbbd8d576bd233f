"""Secrets that were given to whole runs: in none of the files of a training, nor in what other commands make of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from finetune.arguments.secrets import VARIABLES
from tests.commands.test_secrets_of_every_flag import ADDRESSES, SECRET, require_hidden

ROWS = [("the keys are here", "good"), ("the dog sees cats", "bad"), ("she said no", "good"), ("twice", "bad")] * 4


@pytest.fixture
def call(call_command, tmp_path, monkeypatch):
    folder, data = tmp_path / "here", tmp_path / "data.csv"
    folder.mkdir()
    monkeypatch.chdir(folder)
    data.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS), encoding="utf-8")

    def call(script: str, *words: object):
        done = call_command(script, *words, **dict.fromkeys(VARIABLES, SECRET))
        require_hidden(done, folder)
        return done

    return call


def train(call, tiny_bert, folder: Path, *more: object):
    """A classifier whose flags hold secrets, as words and in addresses, and who tells a program of its end."""
    teller = f'{sys.executable} -c \'import sys; open("told.txt", "w").write(sys.stdin.read())\' {SECRET}'
    return call(
        "run_glue.py", "--model_name_or_path", tiny_bert, "--train_file", "../data.csv", "--validation_file", "../data.csv",
        "--do_train", "--do_eval", "--max_steps", 2, "--report_to", "none", "--output_dir", folder, "--hub_token", SECRET,
        "--run_name", ADDRESSES[0], "--hub_model_id", ADDRESSES[1], "--token", SECRET, "--notify_command", teller, *more,
    )  # fmt: skip


def test_a_run_its_page_its_comparison_and_predictions(call, tiny_bert):
    """The variables stand in no file though a flag holds what one of them does."""
    one, other = Path("one"), Path("other")
    for folder in (one, other):
        done = train(call, tiny_bert, folder)
        assert done.code == 0, done.stderr
    assert json.loads(Path("told.txt").read_text(encoding="utf-8"))["status"] == "done"
    assert "(not written)" in (one / "report.html").read_text(encoding="utf-8")
    assert list(one.rglob("training_args.bin")) and (one / "README.md").exists()
    for words in (
        ("report.py", one),
        ("compare.py", one, other, "--output_dir", "compared"),
        (
            "predict.py",
            "--model_name_or_path",
            one,
            "--input_file",
            "../data.csv",
            "--token",
            SECRET,
            "--output_file",
            "a.jsonl",
        ),
    ):
        done = call(*words)
        assert done.code == 0, done.stderr
    assert train(call, tiny_bert, one, "--run_name", ADDRESSES[2]).code in (0, 2)  # differences are listed
    assert train(call, tiny_bert, one, "--max_steps", 3).code == 2


@pytest.mark.parametrize("script", ["sweep.py", "repeat.py"])
def test_commands_of_many_runs(call, tiny_bert, script):
    """A dry run prints the command lines; a config file brings the secrets, too."""
    Path("../grid.yaml").write_text(f"run_name: ['{ADDRESSES[0]}', '{ADDRESSES[1]}']\n", encoding="utf-8")
    grid = ("--grid_file", "../grid.yaml") if script == "sweep.py" else ("--seeds", 2)
    done = call(
        script, "run_glue", "--output_dir", "runs", *grid, "--dry_run", "--", "--model_name_or_path", tiny_bert,
        "--train_file", "../data.csv", "--validation_file", "../data.csv", "--do_train", "--do_eval", "--hub_token", SECRET,
        "--hub_model_id", ADDRESSES[1], f"--token={SECRET}",
    )  # fmt: skip
    assert done.code == 0, done.stderr


def test_records_of_commands_without_a_folder(call, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the keys are here\n" * 30, encoding="utf-8")
    words = ("--train_dir", text, "--pre_tokenizer_type", "bpe", "--vocab_size", 270, "--output_file", "out/vocab.json")
    assert call("train_tokenizer.py", *words).code == 0
    words = ("--train_dir", ADDRESSES[0], "--pre_tokenizer_type", "bpe", "--output_file", "other/vocab.json")
    assert call("train_tokenizer.py", *words).code == 2
