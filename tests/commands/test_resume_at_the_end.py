"""A run that is interrupted at its end, at an epoch's end or within an epoch ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from transformers import TrainerCallback

CONSTANT = ("--lr_scheduler_type", "constant", "--learning_rate", 1e-2)


class Killed(BaseException):
    """Stands for SIGKILL: nothing is written after it."""


@pytest.fixture
def train(call_command, tiny_bert, tmp_path):
    """run_ner.py on 32 sentences, 4 updates an epoch, at a constant rate, so that one step more shows."""

    def call(name: str, *further: object):
        return call_command(
            "run_ner.py", "--model_name_or_path", tiny_bert, "--dataset_name", "sample", "--output_dir", tmp_path / name,
            "--do_train", "--do_eval", "--max_train_samples", 32, "--max_eval_samples", 16, "--bf16", "False",
            "--per_device_train_batch_size", 8, "--logging_steps", 3, "--save_total_limit", 9, *CONSTANT, *further,
        )  # fmt: skip

    return call


def take_back(output: Path, step: int) -> None:
    """Make a finished run one that was killed right after the checkpoint of `step`."""
    for checkpoint in output.glob("checkpoint-*"):
        if int(checkpoint.name.split("-")[1]) > step:
            shutil.rmtree(checkpoint)
    (output / "model.safetensors").unlink()
    record = json.loads((output / "run.json").read_text(encoding="utf-8"))
    (output / "run.json").write_text(json.dumps({**record, "status": "running"}), encoding="utf-8")


def history(output: Path) -> list[dict]:
    """What was logged, without what the clock says."""
    newest = max(output.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    log = json.loads((newest / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return [
        {name: value for name, value in entry.items() if "runtime" not in name and "per_second" not in name}
        for entry in log
    ]


SCHEDULES = {
    "within an epoch": ("--max_steps", 6, "--eval_strategy", "steps", "--eval_steps", 2, "--save_steps", 2),
    "at the end of an epoch": ("--max_steps", 8, "--eval_strategy", "steps", "--eval_steps", 2, "--save_steps", 2),
    "saved by epochs": ("--max_steps", 6, "--eval_strategy", "epoch", "--save_strategy", "epoch"),
    "stopped early": (
        *("--max_steps", 30, "--eval_strategy", "steps", "--eval_steps", 2, "--save_steps", 2, "--learning_rate", 0),
        *("--early_stopping_patience", 2, "--load_best_model_at_end", "False"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_going_on_from_the_last_checkpoint_trains_nothing(train, tmp_path, schedule):
    flags = SCHEDULES[schedule]
    output = tmp_path / "run"
    done = train("run", *flags)
    assert done.code == 0, done.stderr
    steps = sorted(int(path.name.split("-")[1]) for path in output.glob("checkpoint-*"))
    weights, log = (output / "model.safetensors").read_bytes(), history(output)
    for _ in range(2):
        take_back(output, steps[-1])
        again = train("run", *flags)
        assert again.code == 0, again.stderr
        assert f"at step {steps[-1]}." in again.stderr
        assert sorted(int(path.name.split("-")[1]) for path in output.glob("checkpoint-*")) == steps
        assert (output / "model.safetensors").read_bytes() == weights
        assert history(output) == log
        assert again.last.get("train_loss") == done.last.get("train_loss")


@pytest.fixture
def at_step(monkeypatch):
    """Let something happen once, when a training has made its step `number` and saved what it saves there."""
    from finetune.training import callbacks

    def install(number: int, happen, *, event: str = "on_step_end") -> None:
        class Happens(TrainerCallback):
            def act(self, args, state, control, **kwargs):
                nonlocal number
                if state.global_step == number:
                    number = -1
                    happen()

        setattr(Happens, event, Happens.act)
        original = callbacks.CheckpointKeeper.__init__

        def add(self, limit):
            original(self, limit)
            happens = Happens()
            here = getattr(self, event)

            def both(*args, **kwargs):
                result = here(*args, **kwargs)
                happens.act(*args, **kwargs)
                return result

            setattr(self, event, both)

        monkeypatch.setattr(callbacks.CheckpointKeeper, "__init__", add)

    return install


def kill() -> None:
    raise Killed


MIXED = ("--max_steps", 12, "--eval_strategy", "epoch", "--save_strategy", "steps", "--load_best_model_at_end", "False")


@pytest.mark.parametrize(
    ("flags", "event", "step"),
    [
        ((*MIXED, "--save_steps", 4), "on_save", 4),  # between an epoch's last step and its end
        ((*MIXED, "--save_steps", 3), "on_save", 6),  # with sums of losses that are not logged yet
        ((*MIXED, "--save_steps", 4), "on_save", 12),
    ],
)
def test_a_kill_after_a_checkpoint_changes_nothing(train, tmp_path, at_step, monkeypatch, flags, event, step):
    done = train("whole", *flags)
    assert done.code == 0, done.stderr
    with monkeypatch.context() as context:
        at_step(step, kill, event=event)
        assert train("cut", *flags).code == 1
        context.undo()
    again = train("cut", *flags)
    assert again.code == 0, again.stderr
    assert f"at step {step}." in again.stderr
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()
    assert history(tmp_path / "cut") == history(tmp_path / "whole")


@pytest.mark.parametrize("step", [2, 4, 7, 12])
@pytest.mark.parametrize("saved", ["epoch", "steps"])
def test_a_signal_changes_nothing(train, tmp_path, at_step, monkeypatch, step, saved):
    """Within an epoch nothing is evaluated that a whole training would not; at its end nothing is left out."""
    flags = (
        "--max_steps",
        12,
        "--eval_strategy",
        saved,
        "--save_strategy",
        saved,
        "--eval_steps",
        3,
        "--save_steps",
        3,
    )
    done = train("whole", *flags)
    assert done.code == 0, done.stderr
    with monkeypatch.context() as context:
        at_step(step - 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
        stopped = train("cut", *flags)
        context.undo()
    assert (stopped.code, stopped.last["status"]) == (75, "preempted"), stopped.stderr
    again = train("cut", *flags)
    assert again.code == 0, again.stderr
    assert f"at step {step}." in again.stderr
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()
    assert history(tmp_path / "cut") == history(tmp_path / "whole")


@pytest.mark.parametrize("step", [3, 5, 6, 11])
def test_an_interruption_leaves_the_checkpoints_of_the_schedule(train, tmp_path, at_step, monkeypatch, step):
    """The checkpoint that it saved drives no other away, and goes once a later one is whole."""
    flags = ("--max_steps", 12, "--eval_strategy", "steps", "--eval_steps", 3, "--save_steps", 3)
    flags += ("--save_total_limit", 2)
    done = train("whole", *flags)
    assert done.code == 0, done.stderr
    with monkeypatch.context() as context:
        at_step(step - 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert train("cut", *flags).code == 75
        context.undo()
    assert (tmp_path / "cut" / f"checkpoint-{step}" / "complete.json").is_file()
    assert train("cut", *flags).code == 0
    names = [sorted(path.name for path in (tmp_path / name).glob("checkpoint-*")) for name in ("whole", "cut")]
    assert names[0] == names[1]


def test_a_kill_before_older_checkpoints_are_deleted(train, tmp_path):
    """The last one is whole already: the start that goes on from it trains nothing, but leaves none too many."""
    flags = ("--max_steps", 6, "--eval_strategy", "steps", "--eval_steps", 2, "--save_steps", 2)
    assert train("run", *flags).code == 0
    output = tmp_path / "run"
    assert len(list(output.glob("checkpoint-*"))) == 3
    fewer = tmp_path / "fewer"
    assert train("fewer", *flags, "--save_total_limit", 1).code == 0
    kept = sorted(path.name for path in fewer.glob("checkpoint-*"))
    for path in output.glob("checkpoint-*"):
        if path.name not in kept:
            shutil.copytree(path, fewer / path.name)
    take_back(fewer, 6)
    assert train("fewer", *flags, "--save_total_limit", 1).code == 0
    assert sorted(path.name for path in fewer.glob("checkpoint-*")) == kept
