"""A run that is killed goes on from its last whole checkpoint and ends with the same bits as an undisturbed one."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

STEPS = 60
SAVE_EVERY = 10


def make_arguments(model: Path, output: Path) -> list[str]:
    """Dropout on (the model's default), two micro-batches a step, two data loader workers, saves in mid-epoch."""
    flags = {
        "model_name_or_path": model,
        "dataset_name": "sample",
        "output_dir": output,
        "max_train_samples": 400,
        "max_eval_samples": 30,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "dataloader_num_workers": 2,
        "max_steps": STEPS,
        "eval_strategy": "steps",
        "eval_steps": SAVE_EVERY,
        "logging_steps": 5,
        "learning_rate": 1e-3,
        "seed": 7,
    }
    return [str(part) for name, value in flags.items() for part in (f"--{name}", value)] + ["--do_train", "--do_eval"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, run_command, tiny_bert) -> bytes:
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    done = run_command("run_ner.py", *make_arguments(tiny_bert, output))
    assert done.code == 0, done.stderr
    return (output / "model.safetensors").read_bytes()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_a_stopped_run_ends_as_an_undisturbed_one(
    sign, tmp_path, run_command, stop_command, resumed_step, tiny_bert, undisturbed
):
    output = tmp_path / "run"
    arguments = make_arguments(tiny_bert, output)
    marker = output / f"checkpoint-{SAVE_EVERY}" / "complete.json"
    stopped = stop_command("run_ner.py", *arguments, once=marker, sign=sign)
    if sign != signal.SIGKILL:
        assert (stopped.code, stopped.last["status"]) == (75, "preempted")
    else:
        assert stopped.code == -signal.SIGKILL
    again = run_command("run_ner.py", *arguments)
    assert again.code == 0, again.stderr
    assert 0 < resumed_step(output) < STEPS
    assert (output / "model.safetensors").read_bytes() == undisturbed


def test_a_finished_run_says_so(tmp_path, run_command, tiny_bert):
    output = tmp_path / "run"
    arguments = [*make_arguments(tiny_bert, output), "--max_steps", "2"]
    assert run_command("run_ner.py", *arguments).code == 0
    before = (output / "model.safetensors").stat().st_mtime_ns
    again = run_command("run_ner.py", *arguments)
    assert (again.code, again.last["status"]) == (0, "already_done")
    assert (output / "model.safetensors").stat().st_mtime_ns == before


def test_a_stop_file_stops_a_run_which_then_goes_on(tmp_path, run_command, stop_command, resumed_step, tiny_bert):
    """Long enough for a look at the file, which is taken once a second; the figures of one start are those of two."""
    more = ["--max_steps", "400", "--eval_strategy", "no", "--save_steps", "100", "--dataloader_num_workers", "0"]
    whole, output = tmp_path / "whole", tmp_path / "run"
    assert run_command("run_ner.py", *make_arguments(tiny_bert, whole), *more).code == 0
    arguments = [*make_arguments(tiny_bert, output), *more]
    stopped = stop_command("run_ner.py", *arguments, once=output / "run.log", sign=output / "STOP")
    assert (stopped.code, stopped.last["status"]) == (75, "preempted"), stopped.stdout
    assert f"stopped by the file {output}/STOP" in str(stopped.last["reason"]) and not (output / "STOP").exists()
    again = run_command("run_ner.py", *arguments)
    assert again.code == 0, again.stderr
    assert 0 < resumed_step(output) < 400
    assert (output / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
