"""Modules that users name in arguments, and what they were called before: old command lines and runs go on."""

from __future__ import annotations

from typing import Any

MOVED = {
    "finetune.training.baseline_losses": "finetune.lm_experiments.baseline_losses",
    "finetune.training.freezing": "finetune.lm_experiments.freezing",
    "finetune.training.mode_switching": "finetune.lm_experiments.mode_switching",
    "finetune.encoding.preprocessing": "finetune.lm_experiments.preprocessing",
    "finetune.models.modifiers": "finetune.lm_experiments.modifiers",
}


def todays_name(name: str) -> str:
    """A dotted name as it is today: `finetune.training.freezing.X` is `finetune.lm_experiments.freezing.X`."""
    module, _, last = name.rpartition(".")
    return f"{MOVED[module]}.{last}" if module in MOVED else name


def todays_names(value: Any) -> Any:
    """A JSON value with every moved name in it, keys included, as it is today."""
    if isinstance(value, str):
        return todays_name(value)
    if isinstance(value, list):
        return [todays_names(item) for item in value]
    if isinstance(value, dict):
        return {todays_name(key): todays_names(item) for key, item in value.items()}
    return value
