"""What a training does where nobody watches: saves by the clock, passes over steps without finite numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertForTokenClassification


@pytest.fixture
def train(call_command, tiny_bert, tmp_path):
    """run_ner.py on a few sentences of the embedded sample, without dropout, one step after the other."""

    def call(*further: object, output: Path = tmp_path / "run", **environment: str):
        return call_command(
            "run_ner.py", "--model_name_or_path", tiny_bert, "--dataset_name", "sample", "--output_dir", output,
            "--do_train", "--max_train_samples", 32, "--bf16", "False", "--logging_steps", 1,
            "--per_device_train_batch_size", 4, "--save_total_limit", 20, *further, **environment,
        )  # fmt: skip

    return call


@pytest.fixture
def poison(monkeypatch):
    """Make the logits of the n-th forward passes not-a-number, as one bad row in a thousand does."""

    def poison(*calls: int, value: float = float("nan")) -> list[int]:
        made: list[int] = []
        plain = BertForTokenClassification.forward

        def forward(self, *arguments, **named):
            outputs = plain(self, *arguments, **named)
            if self.training:
                made.append(len(made) + 1)
                if made[-1] in calls:
                    outputs["logits"] = outputs["logits"] * value
            return outputs

        monkeypatch.setattr(BertForTokenClassification, "forward", forward)
        return made

    return poison


def steps_of(output: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in output.glob("checkpoint-*"))


def read_history(output: Path, step: int) -> list[dict]:
    return json.loads((output / f"checkpoint-{step}" / "trainer_state.json").read_text())["log_history"]


def read_state(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Weights, and moments and step count of the optimizer."""
    moments = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    return load_file(checkpoint / "model.safetensors") | {
        f"{number}.{name}": value for number, state in moments.items() for name, value in state.items()
    }


@pytest.mark.parametrize(("minutes", "expected"), [("0", [1, 2, 3, 4, 5, 6]), ("1000", [5, 6])])
def test_checkpoints_by_the_clock_come_beside_those_by_step(train, tmp_path, minutes, expected):
    done = train("--max_steps", 6, "--save_steps", 5, "--save_minutes", minutes)
    assert done.code == 0, done.stderr
    assert steps_of(tmp_path / "run") == expected


def test_saving_by_the_clock_changes_no_weight(train, tmp_path):
    for name, flags in (("plain", []), ("clock", ["--save_minutes", "0"])):
        assert train("--max_steps", 4, *flags, output=tmp_path / name).code == 0
    assert (tmp_path / "plain/model.safetensors").read_bytes() == (tmp_path / "clock/model.safetensors").read_bytes()


def test_the_clock_may_be_set_otherwise_when_a_run_goes_on(train, tmp_path):
    assert train("--max_steps", 2, "--save_minutes", "0").code == 0
    assert train("--max_steps", 2, "--save_minutes", "7").last["status"] == "already_done"


def test_saving_by_the_clock_and_never_contradict_each_other(train):
    done = train("--max_steps", 2, "--save_minutes", "5", "--save_strategy", "no")
    assert (done.code, done.last["status"]) == (2, "failed")
    assert "--save_minutes 5 and --save_strategy no contradict each other; drop one of them." in done.stderr


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "flags", [[], ["--no_fast_path"], ["--max_grad_norm", "0"]], ids=["folded", "plain", "unclipped"]
)
def test_a_step_without_finite_numbers_changes_nothing(train, poison, tmp_path, value, flags):
    """Weights and moments after the bad step are those before it; decay does not touch them either."""
    poison(2, value=value)
    done = train("--max_steps", 3, "--save_steps", 1, "--skip_nonfinite", 1, "--weight_decay", 0.1, *flags)
    assert done.code == 0, done.stderr
    assert re.search(r"Step 2 is passed over: the training loss became (nan|-?inf) \(1 of at most 1\)\.", done.stderr)
    assert "1 of 3 steps changed nothing" in done.stderr
    first, second, third = (read_state(tmp_path / f"run/checkpoint-{step}") for step in (1, 2, 3))
    assert len(first) > 40 and all(torch.equal(first[name], second[name]) for name in first)
    assert not any(torch.equal(first[name], third[name]) for name in first if "exp_avg" in name)
    assert json.loads((tmp_path / "run/run.json").read_text())["steps_passed_over"] == 1
    history = {entry["step"]: entry for entry in read_history(tmp_path / "run", 3) if "learning_rate" in entry}
    assert "loss" not in history[2] and all(0 < history[step]["loss"] < 10 for step in (1, 3))


def test_one_bad_part_of_an_accumulated_batch_spoils_the_step_and_no_other(train, poison, tmp_path):
    poison(3)
    flags = ["--max_steps", 3, "--save_steps", 1, "--gradient_accumulation_steps", 2, "--skip_nonfinite", 5]
    done = train(*flags)
    assert done.code == 0, done.stderr
    assert "Step 2 is passed over" in done.stderr and done.stderr.count("is passed over") == 1
    first, second = ((tmp_path / f"run/checkpoint-{step}/model.safetensors").read_bytes() for step in (1, 2))
    assert first == second


def test_one_bad_step_too_many_ends_the_run(train, poison, tmp_path):
    poison(2, 3)
    done = train("--max_steps", 5, "--save_steps", 1, "--skip_nonfinite", 1)
    assert (done.code, done.last["status"]) == (3, "failed")
    assert "with 1 steps passed over before" in str(done.last["reason"]) and "at step 3" in str(done.last["reason"])
    assert steps_of(tmp_path / "run") == [1, 2]


def test_a_run_that_goes_on_has_used_up_what_it_passed_over_before(train, poison, tmp_path):
    poison(2, 3)
    flags = ["--max_steps", 5, "--save_steps", 1, "--skip_nonfinite", 1]
    assert train(*flags).code == 3
    poison(1)  # the first step after checkpoint-2 once more
    again = train(*flags)
    assert again.code == 3 and "at step 3" in str(again.last["reason"])


def test_gradients_alone_may_be_the_bad_ones(train, monkeypatch, tmp_path):
    """The loss is finite, what comes back through the network is not."""
    plain, calls = torch.Tensor.backward, []

    def backward(self, *arguments, **named):
        plain(self, *arguments, **named)
        calls.append(self)
        if len(calls) == 2:
            spoilt.grad.view(-1)[0] = float("inf")

    original = BertForTokenClassification.forward

    def forward(self, *arguments, **named):
        nonlocal spoilt
        spoilt = self.classifier.weight
        return original(self, *arguments, **named)

    spoilt = None
    monkeypatch.setattr(torch.Tensor, "backward", backward)
    monkeypatch.setattr(BertForTokenClassification, "forward", forward)
    done = train("--max_steps", 3, "--save_steps", 1, "--skip_nonfinite", 1)
    assert done.code == 0, done.stderr
    assert "Step 2 is passed over: the gradient norm became" in done.stderr
    first, second = ((tmp_path / f"run/checkpoint-{step}/model.safetensors").read_bytes() for step in (1, 2))
    assert first == second
