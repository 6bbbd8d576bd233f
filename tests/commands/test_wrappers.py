"""The bash wrappers, with a stand-in for Python that writes down how it was called."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FAKE_PYTHON = f"""#!{sys.executable}
import os, signal, sys, time
called = open(os.environ["CALLED"], "w", buffering=1)
called.write("\\n".join(sys.argv[1:]) + "\\n")

def end(number, template):
    called.write(signal.Signals(number).name + "\\n")
    sys.exit(75)

signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
signal.signal(signal.SIGUSR1, end)
print("started", flush=True)
time.sleep(float(os.environ.get("SECONDS_TO_RUN", 0)))
sys.exit(int(os.environ.get("CODE", 0)))
"""
FILES = {
    "train": "-DOCSTART- -X-\n\nEU B-ORG\nrejects O\n\nGerman B-MISC\n",
    "dev": "Paris B-LOC\r\nis O\r\n",
    "test": "\nLone\nTown I-LOC\n",
}
LABELS = ["B-LOC", "B-MISC", "B-ORG", "I-LOC", "O"]


class Wrappers:
    def __init__(self, repository: Path, folder: Path) -> None:
        self.scripts, self.folder, self.called = repository / "scripts", folder, folder / "called.txt"
        python = folder / "fake_python"
        python.write_text(FAKE_PYTHON)
        python.chmod(0o755)
        self.environment = {**os.environ, "PYTHON": str(python), "CALLED": str(self.called)}

    def __call__(self, name: str, *words: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(self.scripts / name), *words],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def words(self) -> list[str]:
        return self.called.read_text().splitlines()


@pytest.fixture
def wrappers(repository, tmp_path):
    (tmp_path / "data").mkdir()
    for name, text in FILES.items():
        (tmp_path / "data" / f"{name}.txt").write_text(text)
    (tmp_path / "engeval-model").mkdir()
    return Wrappers(repository, tmp_path)


NAMES = ["train-ner.sh", "eval-ner.sh"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(wrappers, name, flag):
    done = wrappers(name, flag)
    assert done.returncode == 0 and done.stdout.startswith(f"usage: {name} [-v] [-v -v] [--dry-run]")
    assert "DATA_DIR=data" in done.stdout and not wrappers.called.exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_word_without_a_flag_is_a_mistake(wrappers, name):
    done = wrappers(name, "roberta-base")
    assert done.returncode == 1 and "unexpected word 'roberta-base'" in done.stderr and "usage:" in done.stderr
    assert not wrappers.called.exists()


def test_training_starts_the_documented_command(wrappers):
    assert wrappers("train-ner.sh").returncode == 0
    script, *flags = wrappers.words()
    assert script == str(wrappers.scripts / "run_ner.py")
    line = " ".join(flags)
    assert line == (
        "--data_dir data --labels labels.txt --model_name_or_path ./roberta-base --output_dir engeval-model "
        "--max_seq_length 180 --num_train_epochs 8 --per_device_train_batch_size 32 --learning_rate 5e-5 "
        "--warmup_steps 0 --logging_steps 50 --save_steps 100 --eval_strategy steps --report_to tensorboard --seed 1 "
        "--do_train --do_eval --do_predict"
    )


def test_evaluation_starts_the_documented_command(wrappers):
    assert wrappers("eval-ner.sh", MODEL="engeval-model/").returncode == 0
    assert " ".join(wrappers.words()[1:]) == (
        "--data_dir data --model_name_or_path engeval-model/ --output_dir eval-engeval-model --overwrite_output_dir "
        "--max_seq_length 180 --seed 1 --do_eval --do_predict"
    )


def test_the_commands_of_the_wrappers_are_understood(wrappers, monkeypatch):
    """Both are read by run_ner.py's own parser."""
    import runpy

    parser = runpy.run_path(str(wrappers.scripts / "run_ner.py"))["make_parser"]()
    for name in NAMES:
        wrappers(name)
        assert parser.parse(wrappers.words()[1:]).translated == []


@pytest.mark.parametrize("name", NAMES)
def test_further_flags_are_handed_on_last_and_unchanged(wrappers, name):
    words = ["--num_train_epochs", "1", "--space_token", " ", "--fp16", "--run_name", "a b*"]
    wrappers(name, "-v", *words)
    assert wrappers.words()[-len(words) :] == words


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("code", [0, 1, 2, 75])
def test_the_exit_code_is_pythons(wrappers, name, code):
    done = wrappers(name, CODE=str(code))
    assert done.returncode == code and done.stderr == ""


def test_verbose_shows_the_command_and_where_it_failed(wrappers):
    done = wrappers("train-ner.sh", "-v", "--run_name", "a b", CODE="3")
    assert done.returncode == 3
    assert done.stdout.splitlines()[0].endswith(r"--do_predict --run_name a\ b ")
    assert "Exits abnormally at line" in done.stderr and "train-ner.sh" in done.stderr
    assert wrappers("train-ner.sh", "-v").stderr == ""


def test_twice_verbose_shows_every_step(wrappers):
    done = wrappers("train-ner.sh", "-v", "-v")
    assert done.returncode == 0 and "+ make_labels" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_shows_the_command_and_does_nothing(wrappers, name):
    before = sorted(wrappers.folder.iterdir())
    done = wrappers(name, "--dry-run", "--fp16")
    assert done.returncode == 0 and "run_ner.py --data_dir data" in done.stdout and "--fp16" in done.stdout
    assert sorted(wrappers.folder.iterdir()) == before


def test_labels_are_the_sorted_second_column(wrappers):
    wrappers("train-ner.sh")
    assert (wrappers.folder / "labels.txt").read_text().splitlines() == LABELS
    assert list(wrappers.folder.glob("labels.txt.*")) == []


def test_labels_of_gzipped_files(wrappers):
    subprocess.run(["gzip", str(wrappers.folder / "data" / "train.txt")], check=True)
    assert wrappers("train-ner.sh").returncode == 0
    assert (wrappers.folder / "labels.txt").read_text().splitlines() == LABELS


def test_a_label_file_that_lacks_labels_is_refused(wrappers):
    (wrappers.folder / "labels.txt").write_text("O\nB-LOC\n")
    done = wrappers("train-ner.sh")
    assert done.returncode == 2 and not wrappers.called.exists()
    assert "labels.txt lacks labels of data: B-MISC B-ORG I-LOC; remove it" in done.stderr
    assert (wrappers.folder / "labels.txt").read_text() == "O\nB-LOC\n"


def test_labels_that_the_wrapper_made_follow_mended_data(wrappers):
    wrappers("train-ner.sh")
    train = wrappers.folder / "data" / "train.txt"
    train.write_text(train.read_text().replace("B-MISC", "B-PER"))
    done = wrappers("train-ner.sh")
    assert done.returncode == 0 and "labels.txt was made from other data; it is made anew" in done.stderr
    assert (wrappers.folder / "labels.txt").read_text().splitlines() == ["B-LOC", "B-ORG", "B-PER", "I-LOC", "O"]
    (wrappers.folder / "labels.txt").write_text("O\nB-LOC\nB-ORG\nB-PER\nI-LOC\nB-NEW\n")  # somebody's own
    train.write_text(train.read_text().replace("B-PER", "B-ORG"))
    done = wrappers("train-ner.sh")
    assert "labels.txt is kept" in done.stderr and "B-NEW" in (wrappers.folder / "labels.txt").read_text()


def test_a_label_file_with_more_or_in_another_order_is_kept_and_said(wrappers):
    mine = "\n".join(["B-PER", *reversed(LABELS)]) + "\n"
    (wrappers.folder / "labels.txt").write_text(mine)
    done = wrappers("train-ner.sh")
    assert done.returncode == 0 and "labels.txt is kept" in done.stderr
    assert (wrappers.folder / "labels.txt").read_text() == mine
    (wrappers.folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    assert wrappers("train-ner.sh").stderr == ""


def test_missing_data_and_models_are_named(wrappers):
    (wrappers.folder / "data" / "dev.txt").unlink()
    done = wrappers("train-ner.sh")
    assert done.returncode == 2 and "there is no data/dev.txt; put it there, or set DATA_DIR" in done.stderr
    done = wrappers("eval-ner.sh", MODEL="nowhere")
    assert done.returncode == 2 and "there is no model folder nowhere" in done.stderr
    assert not wrappers.called.exists()


def test_settings_come_from_the_environment(wrappers):
    (wrappers.folder / "data").rename(wrappers.folder / "my data")
    wrappers("train-ner.sh", DATA_DIR="my data", MODEL="m m", OUTPUT_DIR="o", LABELS="l l.txt")
    words = wrappers.words()
    assert words[1:9] == [
        "--data_dir",
        "my data",
        "--labels",
        "l l.txt",
        "--model_name_or_path",
        "m m",
        "--output_dir",
        "o",
    ]


def test_no_folder_is_ever_deleted(wrappers):
    kept = wrappers.folder / "engeval-model" / "weights"
    kept.write_text("x")
    wrappers("train-ner.sh", "--overwrite_output_dir")
    wrappers("eval-ner.sh")
    assert kept.exists()
    for path in wrappers.scripts.glob("*.sh"):
        assert "rm -r" not in path.read_text(), path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_reach_python_and_its_exit_code_comes_back(wrappers, number):
    process = subprocess.Popen(
        [str(wrappers.scripts / "train-ner.sh"), "-v"],
        cwd=wrappers.folder,
        env={**wrappers.environment, "SECONDS_TO_RUN": "30"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    while process.stdout.readline() != "started\n":
        pass
    process.send_signal(number)
    assert process.wait(timeout=100) == 75
    process.stdout.close()
    assert wrappers.words()[-1] == number.name
