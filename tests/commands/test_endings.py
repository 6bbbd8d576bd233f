"""How a training can end before its last step: enough evaluations in vain, numbers that explode, no room for a file."""

from __future__ import annotations

import errno
import json
import re
import resource
import shutil
from pathlib import Path

import pytest

from finetune.run.record_lock import RecordLock


@pytest.fixture
def train(call_command, tiny_bert, tmp_path):
    """run_ner.py on a few sentences of the embedded sample, evaluated and saved every two steps."""

    def call(*further: object, output: Path = tmp_path / "run"):
        return call_command(
            "run_ner.py", "--model_name_or_path", tiny_bert, "--dataset_name", "sample", "--output_dir", output,
            "--do_train", "--do_eval", "--max_train_samples", 32, "--max_eval_samples", 16, "--eval_strategy", "steps",
            "--bf16", "False", *further,
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


@pytest.mark.parametrize("killed_at", [4, 8])
def test_early_stopping_counts_over_a_kill(train, tmp_path, killed_at):
    """Nothing is learnt at a rate of 0: the first of the evaluations stays the best, and three more are in vain."""
    flags = [
        "--eval_steps",
        2,
        "--learning_rate",
        0,
        "--early_stopping_patience",
        3,
        "--max_steps",
        40,
        "--save_total_limit",
        9,
    ]
    first = train(*flags)
    assert first.code == 0, first.stderr
    assert "No improvement in 3 evaluations: training ends at step 8." in first.stderr
    take_back(tmp_path / "run", killed_at)
    again = train(*flags)
    assert again.code == 0, again.stderr
    assert f"Going on from {tmp_path / 'run'}/checkpoint-{killed_at}, at step {killed_at}." in again.stderr
    assert "is checkpoint-2." in again.stderr, "the best is found again"
    steps = sorted(int(path.name.split("-")[1]) for path in (tmp_path / "run").glob("checkpoint-*"))
    assert steps == [2, 4, 6, 8]


def test_numbers_that_explode_end_the_run_and_spare_the_last_good_checkpoint(train, tmp_path):
    """Warm-up: step 1 changes nothing, step 2 everything; its evaluation comes before its checkpoint."""
    done = train("--eval_steps", 1, "--learning_rate", 1e30, "--warmup_steps", 2, "--max_steps", 6)
    assert (done.code, done.last["status"]) == (3, "failed")
    assert re.search(r"loss became (nan|inf) at step 2; lower --learning_rate", str(done.last["reason"]))
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-1"]
    assert (tmp_path / "run" / "checkpoint-1" / "complete.json").is_file()
    assert json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["status"] == "failed"


def test_a_file_that_may_not_grow_ends_the_run_which_goes_on_once_it_may(train, tmp_path):
    flags = ["--eval_steps", 2, "--max_steps", 4]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # the model has four million bytes
    try:
        done = train(*flags)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (done.code, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "a file may not grow that large here" in str(done.last["reason"])
    again = train(*flags)
    assert (again.code, again.last["status"]) == (0, "done"), again.stderr
    assert "checkpoint-2 is not whole (saving it was cut off); it is set aside as checkpoint-2.broken." in again.stderr


def test_a_disk_without_room_is_told_before_a_checkpoint_is_begun(train, tmp_path, monkeypatch):
    """Also where not even the lock can say who holds it; once there is room the run goes on."""
    flags = ["--eval_steps", 2, "--max_steps", 4]
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as context:
        context.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        done = train(*flags)
    assert (done.code, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "the disk is full: the model needs" in str(done.last["reason"])
    assert "'loss'" not in done.stderr  # nothing was trained
    assert not list((tmp_path / "run").glob("checkpoint-*"))
    free = iter([usage.free, 1000])
    with monkeypatch.context() as context:
        context.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
        done = train(*flags)
    assert done.code == 1 and "the disk is full: a checkpoint needs" in str(done.last["reason"]), done.stderr
    assert not list((tmp_path / "run").glob("checkpoint-*"))

    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(self.path))

    with monkeypatch.context() as context:
        context.setattr(RecordLock, "write", full)
        done = train(*flags)
    assert (done.code, "the disk is full" in str(done.last["reason"])) == (1, True), done.stderr
    assert train(*flags).code == 0
    with monkeypatch.context() as context:
        context.setattr(shutil, "disk_usage", lambda _: usage._replace(free=400_000))
        done = train(*flags, "--restart")
    assert "The disk may become full: a checkpoint needs" in done.stderr
