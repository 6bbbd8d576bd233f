from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

WRAPPERS = ("finetune-roberta.sh", "train-roberta.sh", "train-kor-roberta.sh")
SMALL = "hidden_size=32,num_hidden_layers=1,num_attention_heads=2,intermediate_size=64"


@pytest.fixture
def wrapper(repository, tmp_path):
    """The wrappers, started in a folder that holds the texts they expect."""
    lines = "".join(f"sentence number {number} of a small text\n" for number in range(200))
    for name in ("wikitext-2-raw/wiki.train.raw", "wikitext-2-raw/wiki.test.raw", "korean/data.txt.train"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(lines)

    def run(name: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(repository / "scripts" / name), *words]
        return subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize("name", WRAPPERS)
def test_dry_run_shows_the_commands_and_runs_none(wrapper, tmp_path, name):
    before = sorted(path.name for path in tmp_path.rglob("*"))
    done = wrapper(name, "--dry-run", "--seed", "7")
    assert done.returncode == 0, done.stderr
    assert "run_language_modeling.py" in done.stdout and "--mlm" in done.stdout
    assert done.stdout.strip().endswith("--seed 7")
    assert done.stdout.count("--seed 7") == 1, "flags of the caller go to the model, not to the tokenizer"
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", WRAPPERS)
def test_help_and_stray_words(wrapper, name):
    assert wrapper(name, "--help").returncode == 0 and "usage:" in wrapper(name, "-h").stdout
    done = wrapper(name, "stray")
    assert done.returncode == 1 and "usage:" in done.stderr


def test_documented_settings(wrapper):
    english, korean = (wrapper(name, "--dry-run").stdout for name in WRAPPERS[1:])
    for part in (
        "--vocab_size 50265",
        "--min_frequency 2",
        "--file_suffix raw",
        "--max_steps 1000000",
        "--save_steps 2000",
    ):
        assert part in english
    for part in ("--min_frequency 4", "--file_suffix txt", "--num_train_epochs 500", "korean/data.txt.valid"):
        assert part in korean


def test_missing_text_is_a_sentence(wrapper, tmp_path):
    (tmp_path / "korean" / "data.txt.train").unlink()
    done = wrapper("train-kor-roberta.sh")
    assert done.returncode == 2 and "there is no korean/data.txt.train" in done.stderr


def test_tokenizer_and_model_from_scratch(wrapper, tmp_path: Path):
    flags = ("--config_overrides", SMALL, "--max_steps", "2", "--block_size", "32", "--datasets_cache_dir", "cache")
    done = wrapper("train-roberta.sh", "-v", *flags, VOCAB_SIZE="300")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "done"
    held = {path.name for path in (tmp_path / "config-roberta-base").iterdir()}
    assert held == {"config.json", "vocab.json", "merges.txt"}
    config = json.loads((tmp_path / "roberta-base.v1" / "config.json").read_text())
    assert config["model_type"] == "roberta" and config["vocab_size"] == 300
    again = wrapper("train-roberta.sh", *flags, VOCAB_SIZE="300")
    assert again.returncode == 0 and "which is kept" in again.stderr
    assert json.loads(again.stdout.splitlines()[-1])["status"] == "already_done"
