"""A run that is killed goes on from its last whole checkpoint and ends with the same bits as an undisturbed one."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from finetune.training.callbacks import GracefulStop

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
    more = ["--max_steps", "300", "--eval_strategy", "no", "--save_steps", "60", "--dataloader_num_workers", "0"]
    whole, output = tmp_path / "whole", tmp_path / "run"
    assert run_command("run_ner.py", *make_arguments(tiny_bert, whole), *more).code == 0
    arguments = [*make_arguments(tiny_bert, output), *more]
    stopped = stop_command("run_ner.py", *arguments, once=output / "checkpoint-60/complete.json", sign=output / "STOP")
    assert (stopped.code, stopped.last["status"]) == (75, "preempted"), stopped.stdout
    assert f"stopped by the file {output}/STOP" in str(stopped.last["reason"]) and not (output / "STOP").exists()
    again = run_command("run_ner.py", *arguments)
    assert again.code == 0, again.stderr
    assert 60 <= resumed_step(output) < 300
    assert (output / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("script", ["run_ner.py", "run_glue.py"])
def test_a_stop_within_an_epoch_is_not_scored(script, tmp_path, call_command, tiny_bert, monkeypatch):
    """The default evaluates after each epoch; one that a signal cut short has no score, and chooses nothing."""
    numbers = range(40)
    words = "".join(f"Ann{n}\tB-PER\nruns\tO\n\n" for n in numbers)
    rows = "".join(f"text {n},{'good' if n % 3 else 'bad'}\n" for n in numbers)
    data = tmp_path / ("train.conll" if script == "run_ner.py" else "train.csv")
    data.write_text(words if script == "run_ner.py" else f"text,label\n{rows}", encoding="utf-8")
    typed = {"model_name_or_path": tiny_bert, "train_file": data, "num_train_epochs": 3, "per_device_train_batch_size": 4,
             "learning_rate": 1e-3, "logging_steps": 2}  # fmt: skip
    command = [
        script,
        *(word for name, value in typed.items() for word in (f"--{name}", value)),
        "--do_train",
        "--do_eval",
    ]
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert call_command(*command, "--output_dir", whole).code == 0
    plain = GracefulStop.on_step_end

    def stop_at_13(self, args, state, control, **kwargs):
        self.stop.requested = self.stop.requested or state.global_step == 13
        plain(self, args, state, control, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(GracefulStop, "on_step_end", stop_at_13)
        stopped = call_command(*command, "--output_dir", part)
    assert (stopped.code, stopped.last["status"]) == (75, "preempted"), stopped.stderr
    assert call_command(*command, "--output_dir", part).code == 0
    assert (part / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert read_history(part) == read_history(whole)


def read_history(folder: Path) -> list[dict]:
    """Every evaluation until the newest checkpoint, but for speeds, and what was best."""
    newest = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    state = json.loads((newest / "trainer_state.json").read_text(encoding="utf-8"))
    timed = ("runtime", "per_second")
    scored = [row for row in state["log_history"] if "eval_loss" in row]
    rows = [{key: row[key] for key in row if not any(word in key for word in timed)} for row in scored]
    assert len(rows) == 3
    return [*rows, {"best": state["best_metric"], "step": state["best_global_step"]}]
