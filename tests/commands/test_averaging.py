"""Averages of weights: what they are, that they are validated beside the weights, and that the better is kept."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file


@pytest.fixture
def train(call_command, tiny_bert, tmp_path):
    """run_ner.py on a few sentences of the embedded sample; the folder of what came of it."""

    def call(name: str, *further: object, code: int = 0):
        done = call_command(
            "run_ner.py", "--model_name_or_path", tiny_bert, "--dataset_name", "sample", "--do_train",
            "--output_dir", tmp_path / name, "--max_train_samples", 64, "--max_eval_samples", 20, "--max_steps", 6,
            "--learning_rate", 1e-2, "--save_steps", 1, "--save_total_limit", 9, *further,
        )  # fmt: skip
        assert done.code == code, done.stderr
        return done if code else tmp_path / name

    return call


EVALUATED = ("--do_eval", "--eval_strategy", "steps", "--eval_steps", 1, "--metric_for_best_model", "loss")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def averages(folder: Path) -> tuple[dict[str, torch.Tensor], str]:
    with safe_open(folder / "averages.safetensors", "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()["better"]  # noqa: SIM118


NAME = "bert.encoder.layer.0.output.dense.weight"


def test_the_moving_average_is_what_its_formula_says_and_leaves_training_alone(train, tiny_bert):
    output, plain = train("run", "--ema", 0.5), train("plain")
    expected = load_file(tiny_bert / "model.safetensors")[NAME.removeprefix("bert.")]
    for step in range(1, 7):
        decay = min(0.5, (1 + step) / (10 + step))
        assert torch.equal(weights(output / f"checkpoint-{step}")[NAME], weights(plain / f"checkpoint-{step}")[NAME])
        expected = decay * expected + (1 - decay) * weights(output / f"checkpoint-{step}")[NAME]
        held, better = averages(output / f"checkpoint-{step}")
        assert torch.allclose(held[f"ema.{NAME}"], expected, atol=1e-6) and better == ""
    assert torch.allclose(weights(output)[NAME], expected, atol=1e-6), "without validation the average is the result"
    assert "No validation compared the averages" in (output / "run.log").read_text()


def test_the_mean_of_the_last_weights(train):
    output = train("run", "--average_last", 3, "--num_train_epochs", 6, "--max_steps", -1, "--save_strategy", "epoch",
                   "--max_train_samples", 16)  # fmt: skip
    steps = sorted(output.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    mean = torch.stack([weights(folder)[NAME] for folder in steps[-3:]]).mean(0)
    assert torch.allclose(weights(output)[NAME], mean, atol=1e-6)


def test_the_better_by_validation_is_kept_and_said(train):
    """Steps far too long: a mean of the weights is nearer to sense than where they have come to."""
    output = train("run", "--ema", 0.9, "--average_last", 3, *EVALUATED)
    state = json.loads(max(output.glob("checkpoint-*")).joinpath("trainer_state.json").read_text())
    scores = {kind: [row[f"eval_{kind}loss"] for row in state["log_history"] if f"eval_{kind}loss" in row]
              for kind in ("", "ema_", "last_")}  # fmt: skip
    assert [len(values) for values in scores.values()] == [6, 6, 5]
    best = min(value for values in scores.values() for value in values)
    assert state["best_metric"] == best
    chosen = json.loads((output / "run.json").read_text())["chosen_checkpoint"]
    kinds = {"raw": "", "ema": "ema_", "last": "last_"}
    assert best in scores[kinds[chosen["weights"]]] and chosen["value"] == best
    held, better = averages(output / chosen["name"])
    raw = weights(output / chosen["name"])[NAME]
    kept = {"raw": raw, "ema": held[f"ema.{NAME}"], "last": torch.stack([v for k, v in held.items() if re.fullmatch(
        rf"last\d\.{re.escape(NAME)}", k)]).mean(0)}  # fmt: skip
    assert better == chosen["weights"] and torch.allclose(weights(output)[NAME], kept[better], atol=1e-6)
    assert "Validation loss of weights and averages: raw" in (output / "run.log").read_text()


@pytest.mark.parametrize("more", [(), ("--peft", "lora")])
def test_a_run_that_goes_on_ends_with_the_same_bits(more, train, stopped_at_step):
    flags = ("--ema", 0.9, "--average_last", 2, *EVALUATED, *more)
    whole = train("whole", *flags)
    with stopped_at_step(3):
        train("part", *flags, code=75)
    part = train("part", *flags)
    name = "adapter_model.safetensors" if more else "model.safetensors"
    assert (whole / name).read_bytes() == (part / name).read_bytes()
    for folder in whole.glob("checkpoint-*"):
        same = (folder / "averages.safetensors").read_bytes()
        assert same == (part / folder.name / "averages.safetensors").read_bytes(), folder.name


def test_mistakes_are_told(train):
    assert "--ema is 1.5; allowed: between 0 and 1" in str(train("bad", "--ema", 1.5, code=2).last["reason"])
    assert "--average_last" in str(train("bad", "--average_last", 1, code=2).last["reason"])
