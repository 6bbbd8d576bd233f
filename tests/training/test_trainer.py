"""The one subclass of the Trainer: what it overrides is still there in transformers, and runs end where they end."""

from __future__ import annotations

import inspect
import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer

from finetune.lm_experiments.trainer import OVERRIDDEN as OVERRIDDEN_IN_EXPERIMENTS
from finetune.lm_experiments.trainer import ExperimentTrainer
from finetune.training import trainer as module
from finetune.training.resuming import ResumingTrainer
from finetune.training.trainer import OVERRIDDEN, FinetuneTrainer


@pytest.mark.parametrize("name", [*OVERRIDDEN, *OVERRIDDEN_IN_EXPERIMENTS])
def test_transformers_still_has_what_is_overridden(name):
    assert callable(getattr(Trainer, name, None)), (
        f"transformers has no Trainer.{name} any more: our method replaces nothing; see what took its place"
    )
    assert re.search(rf"self\.{name}\b", inspect.getsource(Trainer)), (
        f"transformers no longer calls Trainer.{name}: our method has no effect"
    )


def test_every_override_is_named():
    methods = {**vars(ResumingTrainer), **vars(FinetuneTrainer)}
    own = {name for name, value in methods.items() if inspect.isfunction(value) and hasattr(Trainer, name)}
    assert own - {"__init__"} == set(OVERRIDDEN)
    assert len(inspect.getsource(module).splitlines()) < 250
    for kind, names in ((FinetuneTrainer, OVERRIDDEN), (ExperimentTrainer, OVERRIDDEN_IN_EXPERIMENTS)):
        assert all("Replaces" in (getattr(kind, name).__doc__ or "") for name in names)
    of_transformers = {name for name in vars(ExperimentTrainer) if hasattr(Trainer, name) and not name.startswith("__")}
    assert of_transformers - {"loss_is_scaled_for_ga"} == {*OVERRIDDEN_IN_EXPERIMENTS}


ONCE_AND_AGAIN = [
    "--save_strategy",
    "steps",
    "--save_steps",
    "1",
    "--save_total_limit",
    "9",
    "--lr_scheduler_type",
    "constant",
]


@pytest.mark.slow
@pytest.mark.parametrize("evaluation", [(), ("--eval_strategy", "epoch")], ids=["plain", "epoch"])
def test_a_run_resumed_at_its_last_step_trains_nothing(evaluation, tmp_path, tiny_bert, call_command):
    """Killed after its last checkpoint was complete, in the middle of an epoch: `run.json` says that it is running."""
    words = "".join(f"Ann{number}\tB-PER\nruns\tO\n\n" for number in range(40))
    (tmp_path / "train.conll").write_text(words, encoding="utf-8")
    command = [
        "run_ner.py", "--model_name_or_path", tiny_bert, "--train_file", tmp_path / "train.conll",
        "--validation_file", tmp_path / "train.conll", "--max_steps", "4", "--per_device_train_batch_size", "4",
        "--do_train", "--do_eval", *ONCE_AND_AGAIN, *evaluation, "--load_best_model_at_end", "False",
    ]  # fmt: skip
    once, again = tmp_path / "once", tmp_path / "again"
    for folder in (once, again):
        done = call_command(*command, "--output_dir", folder)
        assert done.code == 0, done.stderr
    for _ in range(2):
        manifest = again / "run.json"
        manifest.write_text(manifest.read_text().replace('"status": "done"', '"status": "running"'), encoding="utf-8")
        done = call_command(*command, "--output_dir", again)
        assert done.code == 0, done.stderr
        assert sorted(path.name for path in again.glob("checkpoint-*")) == [f"checkpoint-{n}" for n in range(1, 5)]
        expected, found = (load_file(folder / "model.safetensors") for folder in (once, again))
        assert all(torch.equal(expected[name], found[name]) for name in expected)
