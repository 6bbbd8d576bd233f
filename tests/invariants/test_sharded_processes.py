"""`--fsdp` on processes of a CPU: parameters in parts, losses and checkpoints of one process."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification

NO_DROPOUT = "hidden_dropout_prob=0.0,attention_probs_dropout_prob=0.0"
STEPS = 8


def make_words(model: Path, output: Path, batch: int, *more: object) -> list[str]:
    flags = {
        "model_name_or_path": model, "dataset_name": "sample", "output_dir": output, "max_train_samples": 42,
        "max_eval_samples": 21, "max_predict_samples": 21, "max_steps": STEPS, "logging_steps": 1, "learning_rate": 1e-3,
        "per_device_train_batch_size": batch, "config_overrides": NO_DROPOUT, "bf16": False, "save_strategy": "steps",
        "save_steps": 2, "save_total_limit": 30, "adam_epsilon": 1e-4, "no_trim_vocabulary": True,
    }  # fmt: skip
    words = [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
    return [*words, "--do_train", "--do_eval", "--do_predict", *map(str, more)]


def read_history(output: Path, *keys: str) -> list[float]:
    state = json.loads((output / f"checkpoint-{STEPS}" / "trainer_state.json").read_text(encoding="utf-8"))
    return [entry[key] for entry in state["log_history"] for key in keys if key in entry]


SHARDED = ["--nproc", 2, "--fsdp", "True"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, run_command, tiny_bert) -> Path:
    output = tmp_path_factory.mktemp("alone") / "one"
    done = run_command("run_ner.py", *make_words(tiny_bert, output, 8), OMP_NUM_THREADS="1")
    assert done.code == 0, done.stderr
    return output


def require_same(output: Path, alone: Path) -> None:
    """Losses, scores, predictions, weights; and the same files."""
    for keys, count in ((["loss"], STEPS), (["eval_loss", "eval_f1"], 2)):
        expected = read_history(alone, *keys)
        assert len(expected) == count and read_history(output, *keys) == pytest.approx(expected, rel=1e-5)
    name = "predictions.test.conll"
    assert (output / name).read_bytes() == (alone / name).read_bytes()
    for place in (".", f"checkpoint-{STEPS}"):
        weights = [load_file(folder / place / "model.safetensors") for folder in (alone, output)]
        assert weights[0].keys() == weights[1].keys()
        for key, value in weights[0].items():
            torch.testing.assert_close(weights[1][key], value, rtol=1e-3, atol=1e-5)
    names = [{path.name for path in (folder / f"checkpoint-{STEPS}").iterdir()} for folder in (alone, output)]
    assert names[0] - {"rng_state.pth"} == names[1] - {"rng_state_0.pth", "rng_state_1.pth", "rng_state.pth"}


@pytest.mark.slow
def test_two_processes_with_a_part_each_are_one(tmp_path, run_command, tiny_bert, alone):
    output = tmp_path / "two"
    done = run_command("run_ner.py", *make_words(tiny_bert, output, 4), *SHARDED)
    assert done.code == 0, done.stderr
    own, whole = map(float, re.search(r"about ([\d.]+) of ([\d.]+) MB of parameters", done.stderr).groups())  # type: ignore[union-attr]
    assert 0.45 * whole < own < 0.6 * whole
    assert done.stderr.count("--fsdp switches the fast path off") == 1
    require_same(output, alone)
    config = json.loads((output / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["BertForTokenClassification"]
    _, loaded = AutoModelForTokenClassification.from_pretrained(output, output_loading_info=True)
    assert not loaded["missing_keys"] and not loaded["unexpected_keys"]


@pytest.mark.slow
@pytest.mark.parametrize("first", ["sharded", "alone"])
def test_a_training_goes_on_sharded_or_not(tmp_path, run_command, stop_command, tiny_bert, alone, first):
    output = tmp_path / "out"
    commands = {
        "sharded": [*make_words(tiny_bert, output, 4), *SHARDED],
        "alone": make_words(tiny_bert, output, 8),
    }
    second = next(name for name in commands if name != first)
    once = output / "checkpoint-4" / "complete.json"
    stopped = stop_command("run_ner.py", *commands[first], once=once, sign=signal.SIGTERM)
    assert stopped.code == 75, stopped.stdout
    done = run_command("run_ner.py", *commands[second], OMP_NUM_THREADS="1")
    assert done.code == 0, done.stderr
    assert "Going on from" in done.stderr
    require_same(output, alone)


@pytest.mark.slow
def test_a_language_model_with_tied_embeddings_is_that_of_one_process(tmp_path, call_command, run_command, tiny_bert):
    lines = [f"The {count} keys to the cabinet are here, " + "and there, " * (count % 7) for count in range(40)]
    for name, part in {"train.txt": lines[:30], "dev.txt": lines[30:]}.items():
        (tmp_path / name).write_text("\n".join(part) + "\n", encoding="utf-8")
    flags = {
        "train_file": tmp_path / "train.txt", "validation_file": tmp_path / "dev.txt", "max_steps": 3, "logging_steps": 1,
        "learning_rate": 1e-3, "bf16": False, "seed": 3, "model_type": "gpt2", "tokenizer_name": tiny_bert,
        "config_overrides": "n_embd=32,n_layer=2,n_head=2,resid_pdrop=0.0,embd_pdrop=0.0,attn_pdrop=0.0", "block_size": 24,
    }  # fmt: skip
    words = ["--do_train", "--do_eval", *(word for name, value in flags.items() for word in (f"--{name}", value))]
    two, one = [*words, "--output_dir", tmp_path / "two"], [*words, "--output_dir", tmp_path / "one"]
    done = run_command("run_clm.py", *two, "--per_device_train_batch_size", 4, *SHARDED)
    assert done.code == 0, done.stderr
    alone = call_command("run_clm.py", *one, "--per_device_train_batch_size", 8)
    assert alone.code == 0, alone.stderr
    assert done.last["loss"] == pytest.approx(alone.last["loss"], rel=1e-5)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    assert weights[0].keys() == weights[1].keys()
