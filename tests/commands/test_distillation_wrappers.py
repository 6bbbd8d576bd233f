from __future__ import annotations

import json
import os
import subprocess

import pytest


@pytest.mark.parametrize(
    ("wrapper", "family", "vocabulary"),
    [("train-distilbert.sh", "bert", "202592"), ("train-distilbert-from-electra.sh", "electra", "35000")],
)
def test_the_chain_is_shown_and_not_run(repository, tmp_path, wrapper, family, vocabulary):
    done = subprocess.run(
        [repository / "scripts" / wrapper, "--dry-run", "--n_epoch", "7"],
        capture_output=True, text=True, cwd=tmp_path, check=True,
    )  # fmt: skip
    binarize, count, extract, train = done.stdout.splitlines()
    assert "binarized_data.py" in binarize and "--n_epoch" not in binarize
    assert f"--vocab_size {vocabulary}" in count and f"--model_type {family} " in extract
    assert f"--vocab_size {vocabulary} " in train, "the student's, whatever its configuration says"
    assert f"--teacher_type {family} " in train and train.rstrip().endswith("--n_epoch 7")
    assert not list(tmp_path.iterdir())


def test_the_vocabulary_is_the_teachers(repository, tmp_path):
    (tmp_path / "bert-base").mkdir()
    (tmp_path / "bert-base" / "config.json").write_text(
        json.dumps({"type_vocab_size": 2, "vocab_size": 30873}, indent=2)
    )
    for given, expected in (({}, "30873"), ({"VOCAB_SIZE": "7"}, "7")):
        done = subprocess.run(
            [repository / "scripts" / "train-distilbert.sh", "--dry-run"],
            capture_output=True, text=True, cwd=tmp_path, check=True, env={**os.environ, **given},
        )  # fmt: skip
        _, count, _, train = done.stdout.splitlines()
        assert f"--vocab_size {expected} " in count and f"--vocab_size {expected} " in train


def test_steps_whose_result_is_there_are_left_out(repository, tmp_path):
    (tmp_path / "distillation-data").mkdir()
    (tmp_path / "distillation-data" / "dump.bert-base").mkdir()
    done = subprocess.run(
        [repository / "scripts" / "train-distilbert.sh", "--dry-run"],
        capture_output=True, text=True, cwd=tmp_path, check=True,
    )  # fmt: skip
    assert "binarized_data.py" not in done.stdout and len(done.stdout.splitlines()) == 3
    assert "dump.bert-base is there and is kept" in done.stderr


def test_the_electra_student_has_its_teachers_vocabulary(repository):
    assert json.loads((repository / "configs" / "distilbert-from-electra.json").read_text())["vocab_size"] == 35000
