"""A secret that is planted in a flag, a file or a variable stands in nothing that a command writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import tiny

SECRET = "s3cr3t-Xq7vLp"
TEXTS = ["The keys to the cabinet are here.", "The dog sees the cats.", "She said no, twice."]


@pytest.fixture
def model(tmp_path) -> Path:
    tokenizer = tiny.byte_level(TEXTS * 5, 300)
    return tiny.save(tiny.gpt2(len(tokenizer)), tokenizer, tmp_path / "gpt2")


def require_hidden(done, folder: Path) -> None:
    """Neither in what a command said, nor in any file of its folder, as it is or as JSON and URLs spell it."""
    assert SECRET not in done.stdout and SECRET not in done.stderr
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert SECRET.encode() not in path.read_bytes(), path


URL = f"postgresql://user:{SECRET}@host.invalid/study"
PLANTED = {
    "storage": ("--study_kwargs.storage", URL),
    "storage, in a query": ("--study_kwargs.storage", f"postgresql://host.invalid/study?user=u&password={SECRET}"),
    "storage, as JSON": ("--study_kwargs", json.dumps({"storage": URL})),
    "keywords of the storage": (
        "--study_kwargs.storage_kwargs", json.dumps({"engine_kwargs": {"connect_args": {"password": SECRET}}})
    ),
    "tokenizer": ("--tokenizer_kwargs.token", SECRET),
    "token": ("--token", SECRET),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("by", ["flag", "file"])
def test_of_fine_tuning_for_surprisals(call_command, model, tmp_path, planted, by):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS) + "\n")
    flag, value = PLANTED[planted]
    words = [flag, value]
    if by == "file":
        config = tmp_path / "config.yaml"
        config.write_text(f"{flag.lstrip('-')}: {json.dumps(value)}\n")
        words = ["--config_file", config]
    folder = tmp_path / "out"
    done = call_command(
        "finetune_lm.py", "--model_name_or_path", model, "--train_file", texts, "--validation_file", texts,
        "--epochs", 1, "--use_gpu", "False", "--output_dir", folder, *words,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    require_hidden(done, folder)
    again = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert "(not written)" in json.dumps(again["arguments"])


@pytest.mark.parametrize(
    "words",
    [
        ("--study_kwargs.storage", URL, "--do_optimize"),
        ("--study_kwargs.storage", URL, "--study_kwargs.storage", URL + "2", "--max_length", "x"),
        ("--study_kwargz.storage", URL),
        ("--study_kwargs", '{"storage": "' + URL),
        ("--token", SECRET, "--token", SECRET + "2", "--max_length", "x"),
        ("--epochs", URL),
    ],
)
def test_of_errors(call_command, model, tmp_path, words):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS) + "\n")
    done = call_command(
        "finetune_lm.py", "--model_name_or_path", model, "--train_file", texts, "--validation_file", texts,
        "--use_gpu", "False", "--output_dir", tmp_path / "out", *words,
    )  # fmt: skip
    assert done.code in (1, 2), done.stdout
    require_hidden(done, tmp_path / "out")


def test_of_a_trained_tagger(call_command, tiny_bert, tmp_path):
    """Variables, --token and --hub_token: checkpoints, training_args.bin, model card, record, log."""
    folder = tmp_path / "out"
    done = call_command(
        "run_ner.py", "--model_name_or_path", tiny_bert, "--dataset_name", "sample", "--output_dir", folder,
        "--do_train", "--do_eval", "--max_train_samples", 16, "--max_eval_samples", 8, "--max_steps", 2, "--report_to",
        "tensorboard", "--hub_token", SECRET, "--token", SECRET,
        HF_TOKEN=SECRET, WANDB_API_KEY=SECRET,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert list(folder.rglob("training_args.bin"))
    require_hidden(done, folder)
