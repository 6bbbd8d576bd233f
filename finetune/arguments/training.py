"""The `TrainingArguments` of transformers as users type them: the generated table and what we know beyond it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from finetune.arguments.fields import Field
from finetune.arguments.training_table import TRAINING_FIELDS, TrainingValues
from finetune.errors import Problem

APEX_OPTIMIZER = "apex_fused_adam"
OWN_CHOICES: dict[str, tuple[str, ...]] = {"optim": (APEX_OPTIMIZER,)}
# name -> (smallest, largest) value; transformers either does not check these or fails late, in the middle of a run.
RANGES: dict[str, tuple[float | None, float | None]] = {
    "per_device_train_batch_size": (1, None),
    "per_device_eval_batch_size": (1, None),
    "gradient_accumulation_steps": (1, None),
    "eval_accumulation_steps": (1, None),
    "torch_empty_cache_steps": (1, None),
    "num_train_epochs": (0, None),
    "max_steps": (-1, None),
    "warmup_steps": (0, None),
    "learning_rate": (0, None),
    "weight_decay": (0, None),
    "adam_beta1": (0, 1),
    "adam_beta2": (0, 1),
    "adam_epsilon": (0, None),
    "max_grad_norm": (0, None),
    "label_smoothing_factor": (0, 1),
    "logging_steps": (0, None),
    "eval_steps": (0, None),
    "eval_delay": (0, None),
    "save_steps": (0, None),
    "save_total_limit": (1, None),
    "dataloader_num_workers": (0, None),
    "dataloader_prefetch_factor": (1, None),
    "seed": (0, 2**32 - 1),
    "data_seed": (0, 2**32 - 1),
}

# What nobody set is settled once data and machine are known, and then stands in run.json (`training_arguments`).
FOLLOWS = {
    "bf16": "True where the hardware computes bfloat16 natively",
    "fp16": "True on GPUs with tensor cores but without bfloat16",
    "eval_strategy": "steps with --eval_steps, else epoch; no without --do_train and a validation set",
    "eval_steps": "--logging_steps",
    "save_strategy": "as --eval_strategy; steps with --save_steps, else epoch without a validation set",
    "save_steps": "--eval_steps; 500 without evaluation",
    "save_total_limit": "2, the best and the last",
    "load_best_model_at_end": "True where every checkpoint is scored on validation",
    "metric_for_best_model": "the main score of the task, on validation",
    "greater_is_better": "as the metric has it",
    "use_cpu": "True without an accelerator",
    "dataloader_pin_memory": "True with an accelerator",
}


def training_fields(defaults: TrainingValues) -> list[Field]:
    """The table with a command's own defaults, the ranges and the choices added here."""
    unknown = set(defaults) - {field.name for field in TRAINING_FIELDS}
    if unknown:
        raise ValueError(f"not fields of TrainingArguments: {', '.join(sorted(unknown))}")
    return [_complete(field, defaults) for field in TRAINING_FIELDS]


def _complete(field: Field, defaults: TrainingValues) -> Field:
    minimum, maximum = RANGES.get(field.name, (None, None))
    choices = (*field.choices, *OWN_CHOICES.get(field.name, ()))
    default = defaults.get(field.name, field.default)
    follows = "" if field.name in defaults else FOLLOWS.get(field.name, "")
    return replace(field, default=default, minimum=minimum, maximum=maximum, choices=choices, follows=follows)


def training_problems(training: Mapping[str, Any], explicit: TrainingValues) -> list[Problem]:
    """Contradictions that transformers would raise one by one, late.

    Args:
        training: every effective TrainingArguments value.
        explicit: those that the user typed or the command sets. An evaluation schedule that nobody set is no
            contradiction: it is chosen once the data is known.
    """
    return [
        *_precision_problems(training),
        *(_needing_evaluation(training) if explicit.get("eval_strategy") == "no" else ()),
        *_logging_problems(training),
        *_fraction_problems(training),
        *_worker_problems(training),
        *_optimizer_problems(training),
    ]


def _precision_problems(training: Mapping[str, Any]) -> list[Problem]:
    pairs = (("fp16", "bf16"), ("fp16_full_eval", "bf16_full_eval"))
    return [
        Problem(f"--{first} and --{second} are both given", remedy="choose one of the two precisions")
        for first, second in pairs
        if training[first] and training[second]
    ]


def _needing_evaluation(training: Mapping[str, Any]) -> list[Problem]:
    schedule = training["lr_scheduler_type"]
    needing = [f"--lr_scheduler_type {schedule}"] if schedule in ("reduce_lr_on_plateau", "greedy") else []
    needing += ["--load_best_model_at_end"] if training["load_best_model_at_end"] else []
    remedy = "use --eval_strategy steps or --eval_strategy epoch"
    return [Problem(f"{flag} needs evaluation, but --eval_strategy is no", remedy=remedy) for flag in needing]


def _logging_problems(training: Mapping[str, Any]) -> list[Problem]:
    if training["logging_strategy"] != "steps" or training["logging_steps"] != 0:
        return []
    return [Problem("--logging_steps is 0", remedy="to log nothing say --logging_strategy no")]


def _fraction_problems(training: Mapping[str, Any]) -> list[Problem]:
    names = ("logging_steps", "eval_steps", "save_steps", "warmup_steps")
    return [
        Problem(
            f"--{name} is {training[name]}", "above 1 it must be a whole number, below 1 it is a share of all steps"
        )
        for name in names
        if training[name] is not None and training[name] > 1 and training[name] != int(training[name])
    ]


def _worker_problems(training: Mapping[str, Any]) -> list[Problem]:
    if training["dataloader_num_workers"]:
        return []
    return [
        Problem(f"--{name} needs loader processes", remedy="add --dataloader_num_workers 1 or more")
        for name in ("dataloader_prefetch_factor", "dataloader_persistent_workers")
        if training[name]
    ]


def _optimizer_problems(training: Mapping[str, Any]) -> list[Problem]:
    pairs = (training["optim_args"] or "").replace(" ", "").split(",")
    wrong = [pair for pair in pairs if pair and pair.count("=") != 1]
    if not wrong:
        return []
    found = f"--optim_args holds {', '.join(map(repr, wrong))}"
    return [
        Problem(found, "pairs name=value with commas between them; a value has no comma", "write --optim_args a=1,b=2")
    ]
