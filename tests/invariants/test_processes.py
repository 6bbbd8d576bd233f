"""Two processes with half the batch each train and score as one process does, and speak with one voice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NO_DROPOUT = "hidden_dropout_prob=0.0,attention_probs_dropout_prob=0.0"


def make_words(model: Path, output: Path, batch: int) -> list[str]:
    """21 sentences to score: an odd number, of which the last is there for one process only; 42 to train on, of which two
    are left for the sixth step."""
    flags = {
        "model_name_or_path": model, "dataset_name": "sample", "output_dir": output, "max_train_samples": 42,
        "max_eval_samples": 21, "max_predict_samples": 21, "max_steps": 7, "logging_steps": 1, "learning_rate": 1e-3,
        "per_device_train_batch_size": batch, "config_overrides": NO_DROPOUT, "bf16": False,
    }  # fmt: skip
    words = [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
    return [*words, "--do_train", "--do_eval", "--do_predict"]


def read_history(output: Path, *keys: str) -> list[float]:
    state = json.loads((output / "checkpoint-7" / "trainer_state.json").read_text(encoding="utf-8"))
    return [entry[key] for entry in state["log_history"] for key in keys if key in entry]


@pytest.mark.slow
def test_two_processes_with_half_the_batch_are_one(tmp_path, call_command, run_two_processes, tiny_bert):
    one, two = tmp_path / "one", tmp_path / "two"
    done = run_two_processes("run_ner.py", *make_words(tiny_bert, two, 4))
    assert done.code == 0, done.stderr
    alone = call_command("run_ner.py", *make_words(tiny_bert, one, 8))
    assert alone.code == 0, alone.stderr
    for keys in (["loss"], ["grad_norm"], ["eval_loss", "eval_f1", "eval_accuracy"]):
        expected = read_history(one, *keys)
        assert len(expected) == (7 if len(keys) == 1 else 6)
        assert read_history(two, *keys) == pytest.approx(expected, rel=1e-5)
    for split in ("validation", "test"):
        name = f"predictions.{split}.conll"
        assert (two / name).read_bytes() == (one / name).read_bytes()
    assert done.stdout.count("[ Test Result ]") == 1
    assert done.stdout.count('"status"') == 1 and json.loads(done.stdout.splitlines()[-1])["status"] == "done"
    assert done.stderr.count("***** Running training *****") == 1
    marked = json.loads((two / "checkpoint-7" / "complete.json").read_text(encoding="utf-8"))
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(marked), "whole means: the random state of every process"
