from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

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


CHAIN_PYTHON = """#!{python}
import os, pathlib, sys
words = sys.argv[1:]
only = bool(os.environ.get("FINETUNE_ONLY_JUDGE_FLAGS"))
with open("called.txt", "a") as log:
    again = " --overwrite" if "--overwrite" in words else ""
    log.write(("judge " if only else "run ") + pathlib.Path(words[0]).stem + again + chr(10))
if "--bad" in words:
    print("the last line")
    sys.exit(2)
for flag in ("--token_counts_dump", "--dump_checkpoint"):
    if flag in words and not only:
        pathlib.Path(words[words.index(flag) + 1]).write_text("made")
if "--dump_file" in words and not only:
    pathlib.Path(words[words.index("--dump_file") + 1] + ".teacher").mkdir(parents=True, exist_ok=True)
"""
STEPS = ["binarized_data", "token_counts", "extract_distilbert", "train"]


@pytest.fixture
def chain(repository, tmp_path):
    python = tmp_path / "python"
    python.write_text(CHAIN_PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    (tmp_path / "text.txt").write_text("one\n")
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "config.json").write_text('{"vocab_size": 9}')

    def start(*words: str, **settings: str) -> tuple[subprocess.CompletedProcess, list[str]]:
        (tmp_path / "called.txt").unlink(missing_ok=True)
        given = {"PYTHON": str(python), "TEACHER": "teacher", "TRAIN_FILE": "text.txt", **settings}
        done = subprocess.run(
            [repository / "scripts" / "train-distilbert.sh", *words],
            capture_output=True, text=True, cwd=tmp_path, check=False, env={**os.environ, **given},
        )  # fmt: skip
        return done, (tmp_path / "called.txt").read_text().splitlines()

    return start


def runs(called: list[str]) -> list[str]:
    return [line.removeprefix("run ") for line in called if line.startswith("run ")]


def test_every_step_is_judged_before_the_first_runs(chain, tmp_path):
    done, called = chain("--bad")
    assert (done.returncode, runs(called)) == (2, [])
    assert sorted(called) == sorted(f"judge {step}" for step in STEPS)
    assert done.stdout.splitlines() == ["the last line"] and not (tmp_path / "distillation-data").exists()
    done, called = chain()
    assert (done.returncode, runs(called)) == (0, STEPS)


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("text", ["binarized_data --overwrite", "token_counts", "train"]),
        ("teacher", ["binarized_data --overwrite", "token_counts", "extract_distilbert", "train"]),
        ("vocabulary", ["token_counts", "train"]),
        ("layers", ["extract_distilbert", "train"]),
        ("nothing", ["train"]),
    ],
)
def test_what_was_made_from_something_else_is_made_anew(chain, tmp_path, changed, again):
    chain()
    settings = {"vocabulary": {"VOCAB_SIZE": "7"}, "layers": {"LAYERS": "0 1"}}.get(changed, {})
    if changed == "text":
        (tmp_path / "text.txt").write_text("two\n")
    if changed == "teacher":
        (tmp_path / "teacher" / "config.json").write_text('{"vocab_size": 9, "hidden_size": 8}')
    done, called = chain(**settings)
    assert (done.returncode, runs(called)) == (0, again)
    assert ("made anew" in done.stderr) == (changed != "nothing")


def test_ids_that_another_command_made_are_told_by_the_text_that_they_name(chain, tmp_path):
    store = tmp_path / "distillation-data" / "dump.teacher"
    store.mkdir(parents=True)
    (store / "store.json").write_text(json.dumps({"files": [{"sha256": hashlib.sha256(b"one\n").hexdigest()}]}))
    assert runs(chain()[1])[0] == "token_counts"
    (tmp_path / "text.txt").write_text("two\n")
    assert runs(chain()[1])[:2] == ["binarized_data --overwrite", "token_counts"]


def test_flags_are_judged_by_the_commands_themselves(repository, tmp_path):
    (tmp_path / "text.txt").write_text("one\n")
    given = {"PYTHON": sys.executable, "TRAIN_FILE": "text.txt", "VOCAB_SIZE": "many"}
    done = subprocess.run(
        [repository / "scripts" / "train-distilbert.sh", "--n_epochz", "3"],
        capture_output=True, text=True, cwd=tmp_path, check=False, env={**os.environ, **given},
    )  # fmt: skip
    assert done.returncode == 2
    assert "--n_epochz" in done.stderr and done.stderr.count("many") >= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]
