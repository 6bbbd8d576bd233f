"""What a run settled beyond what was typed: into run.json, the card and the report."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainingArguments

from finetune.arguments.secrets import hide_in
from finetune.run.folder import Run

ARGUMENTS = "training_arguments"
CHOSEN = "chosen_checkpoint"
SECRET = ("token", "password", "key")


def record_arguments(run: Run, arguments: TrainingArguments) -> None:
    """Keep the TrainingArguments that training really has: number format, rhythm, what chooses the best checkpoint."""
    run.record(**{ARGUMENTS: without_secrets(arguments)})


def without_secrets(arguments: TrainingArguments) -> dict[str, Any]:
    """Every TrainingArguments value by name, but for those that are secret."""
    return {name: value for name, value in arguments.to_dict().items() if not name.endswith(SECRET)}


def hide_in_arguments(arguments: TrainingArguments) -> TrainingArguments:
    """A copy without the secrets in texts and dictionaries, for `training_args.bin`, which lies beside every model."""
    shown = copy.copy(arguments)
    for name, value in vars(arguments).items():
        if isinstance(value, str | dict) and (hidden := hide_in(value, name)) != value:
            vars(shown)[name] = hidden
    return shown


def record_choice(run: Run, trainer: Trainer) -> None:
    """Keep which checkpoint training ended with, and by which score of validation it was chosen."""
    state, best = trainer.state, trainer.state.best_model_checkpoint
    chosen: dict[str, Any] = {"name": "the last step", "step": state.global_step}
    if trainer.args.load_best_model_at_end and best:
        metric = str(trainer.args.metric_for_best_model).removeprefix("eval_")
        chosen = {"name": Path(best).name, "metric": metric, "value": state.best_metric}
    averages = getattr(trainer, "averages", None)
    run.record(**{CHOSEN: {**chosen, **({"weights": averages.settled} if averages else {})}})


def describe_settled(run: Run) -> dict[str, str]:
    """The number format and the chosen checkpoint in words, for cards and reports; empty for what a run has none of."""
    facts = {}
    if (arguments := run.recall(ARGUMENTS)) is not None:
        short = "bfloat16" if arguments["bf16"] else "float16 with loss scaling" if arguments["fp16"] else ""
        facts["precision"] = f"{short}, weights in float32" if short else "float32"
    if (chosen := run.recall(CHOSEN)) is not None:
        by = f"the best of validation by {chosen['metric']} ({chosen['value']:.6g})" if "metric" in chosen else ""
        facts["chosen checkpoint"] = f"{chosen['name']}, {by or chosen['step']}"
        if (kind := chosen.get("weights", "raw")) != "raw":
            facts["weights"] = {"ema": "their moving average (--ema)", "last": "the mean of the last (--average_last)"}[
                kind
            ]
    return facts


def spell_settled(run: Run) -> list[str]:
    """The same as sentences for the notes of a report."""
    notes = [f"{name.capitalize()}: {words}." for name, words in describe_settled(run).items()]
    return [*notes, *warn_of_choice(run)]


def warn_of_choice(run: Run) -> list[str]:
    """That the split which chose the checkpoint is no independent judge of it."""
    if "metric" not in (run.recall(CHOSEN) or {}):
        return []
    return ["Validation both chose the checkpoint and scores it: its metrics flatter."]
