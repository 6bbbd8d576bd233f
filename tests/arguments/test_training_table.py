from __future__ import annotations

import dataclasses
import subprocess
import sys
import typing

import pytest

from finetune.arguments.make_training_table import build_training_fields, type_of
from finetune.arguments.training import RANGES, training_fields, training_problems
from finetune.arguments.training_table import TRAINING_FIELDS, TRANSFORMERS_VERSION, TrainingValues

REMAKE = "run: python -m finetune.arguments.make_training_table"


def test_the_table_is_what_the_installed_library_says():
    import transformers

    assert transformers.__version__ == TRANSFORMERS_VERSION, REMAKE
    assert build_training_fields() == TRAINING_FIELDS, REMAKE


def test_the_types_are_those_of_the_fields():
    """mypy reads them as source; here the source is what the generator would write, and Python can resolve it."""
    hints = typing.get_type_hints(TrainingValues)
    names = {"Any": typing.Any}
    assert hints == {field.name: eval(type_of(field), names) for field in TRAINING_FIELDS}, REMAKE
    assert hints["optim_args"] == (str | None) and hints["per_device_train_batch_size"] is int
    assert TrainingValues.__required_keys__ == frozenset()


def test_every_field_of_training_arguments_is_there():
    from transformers import TrainingArguments

    declared = [item.name for item in dataclasses.fields(TrainingArguments)]
    assert [item.name for item in TRAINING_FIELDS] == declared


def test_the_defaults_build_the_real_object(tmp_path):
    from transformers import TrainingArguments

    values = {item.name: item.default for item in TRAINING_FIELDS} | {"output_dir": str(tmp_path), "use_cpu": True}
    ours, theirs = TrainingArguments(**values), TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    assert ours.to_dict() == theirs.to_dict()


def test_ranges_name_fields():
    assert set(RANGES) <= {item.name for item in TRAINING_FIELDS}


def test_the_apex_optimizer_is_a_choice():
    optim = next(item for item in training_fields({}) if item.name == "optim")
    assert {"apex_fused_adam", "adamw_torch", "adafactor"} <= set(optim.choices)


DEFAULTS = {item.name: item.default for item in TRAINING_FIELDS}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"fp16": True, "bf16": True}, "--fp16 and --bf16 are both given"),
        ({"fp16_full_eval": True, "bf16_full_eval": True}, "--fp16_full_eval and --bf16_full_eval are both given"),
        (
            {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "no"},
            "--lr_scheduler_type reduce_lr_on_plateau needs evaluation",
        ),
        ({"load_best_model_at_end": True, "eval_strategy": "no"}, "--load_best_model_at_end needs evaluation"),
        ({"logging_steps": 0}, "--logging_steps is 0"),
        ({"save_steps": 1.5}, "--save_steps is 1.5; above 1 it must be a whole number"),
        ({"optim_args": "betas=(0.9,0.9)"}, "--optim_args holds '0.9)'; pairs name=value"),
        ({"dataloader_prefetch_factor": 2}, "--dataloader_prefetch_factor needs loader processes"),
    ],
)
def test_contradictions(values, sentence):
    problems = training_problems({**DEFAULTS, **values}, values)
    assert len(problems) == 1 and sentence in str(problems[0])


def test_no_contradictions_by_default():
    assert training_problems(DEFAULTS, {}) == []
    values = {"load_best_model_at_end": True}
    assert training_problems({**DEFAULTS, **values}, values) == [], "the rhythm is chosen once the data is known"


LIGHT = """
import importlib, pkgutil, sys
import finetune, finetune.cli, finetune.errors
for room in ("arguments", "run"):
    package = importlib.import_module(f"finetune.{room}")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"finetune.{room}.{module.name}")
heavy = {"torch", "transformers", "datasets", "numpy", "accelerate", "sklearn"} & set(sys.modules)
sys.exit(f"imported: {sorted(heavy)}" if heavy else 0)
"""


def test_the_light_rooms_import_no_heavy_library(repository):
    done = subprocess.run([sys.executable, "-c", LIGHT], check=False, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
