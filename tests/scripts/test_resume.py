"""A run that is killed goes on from its last whole checkpoint and ends with the same bits as an undisturbed one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
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


def start_and_stop(repository: Path, arguments: list[str], output: Path, sign: signal.Signals) -> tuple[int, str]:
    """Start the command, send it a signal once the first checkpoint is whole, and wait for its end."""
    command = [sys.executable, str(repository / "scripts" / "run_ner.py"), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ)
    marker = output / f"checkpoint-{SAVE_EVERY}" / "complete.json"
    deadline = time.monotonic() + 120
    while not marker.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(sign)
    stdout, _ = process.communicate(timeout=120)
    return process.returncode, stdout


def find_resumed_step(log: str) -> int:
    return int(re.findall(r"Going on from .*checkpoint-(\d+)", log)[-1])


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_run_ends_as_an_undisturbed_one(sign, tmp_path, repository, run_command, tiny_bert, undisturbed):
    output = tmp_path / "run"
    arguments = make_arguments(tiny_bert, output)
    code, stdout = start_and_stop(repository, arguments, output, sign)
    if sign == signal.SIGTERM:
        assert code == 75, stdout
        assert '"status":"preempted"' in stdout.replace(" ", "")
    else:
        assert code == -signal.SIGKILL
    again = run_command("run_ner.py", *arguments)
    assert again.code == 0, again.stderr
    step = find_resumed_step((output / "run.log").read_text(encoding="utf-8"))
    assert 0 < step < STEPS
    assert (output / "model.safetensors").read_bytes() == undisturbed


def test_a_finished_run_says_so(tmp_path, run_command, tiny_bert):
    output = tmp_path / "run"
    arguments = [*make_arguments(tiny_bert, output), "--max_steps", "2"]
    assert run_command("run_ner.py", *arguments).code == 0
    before = (output / "model.safetensors").stat().st_mtime_ns
    again = run_command("run_ner.py", *arguments)
    assert (again.code, again.last["status"]) == (0, "already_done")
    assert (output / "model.safetensors").stat().st_mtime_ns == before
