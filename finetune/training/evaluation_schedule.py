"""When to evaluate, save and log: defaults that follow from each other, settled before TrainingArguments are built.

Saving follows evaluation, and the best checkpoint by validation is what the run ends with; whatever was typed stays.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from finetune.arguments.training_table import TrainingValues
from finetune.errors import Problem, UsageError

logger = logging.getLogger(__name__)

LOGGING_STEPS = 500
NEED_EVALUATION = {
    "eval_strategy": ("no", None),
    "load_best_model_at_end": (False, None),
    "eval_on_start": (False, None),
}


def resolve_schedule(values: TrainingValues, *, has_validation: bool, main_metric: str = "loss") -> TrainingValues:
    """Complete `values` (TrainingArguments by name) with what follows from them.

    Args:
        values: what was typed and what the command sets by default.
        has_validation: whether there is a validation split to choose the best checkpoint on.
        main_metric: what the best checkpoint is chosen by where nothing was typed.

    Raises:
        UsageError: the typed values cannot be had together.
    """
    settled = values.copy()
    if not settled.get("do_train"):
        return {**settled, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    if not has_validation or settled.get("eval_strategy") == "no":
        return resolve_without_validation(settled)
    if "eval_strategy" not in settled:
        settled["eval_strategy"] = "steps" if "eval_steps" in settled else "epoch"
    if settled["eval_strategy"] == "steps":
        settled.setdefault("eval_steps", settled.get("logging_steps", LOGGING_STEPS))
    resolve_saving(settled)
    resolve_best(settled, main_metric)
    return settled


def resolve_without_validation(values: TrainingValues) -> TrainingValues:
    """Without a validation split nothing can be chosen: the last checkpoint is the result."""
    given: Mapping[str, object] = values
    problems = [
        Problem(f"--{name} {given[name]} needs evaluation during training", remedy="add --do_eval and a validation set")
        for name, off in NEED_EVALUATION.items()
        if given.get(name, off[0]) not in off
    ]
    if problems:
        raise UsageError(*problems)
    values = {**values, "eval_strategy": "no", "load_best_model_at_end": False}
    values.setdefault("save_strategy", "steps" if "save_steps" in values else "epoch")
    return values


def resolve_saving(values: TrainingValues) -> None:
    """Save when evaluating, unless the user set a schedule of their own."""
    if "save_strategy" not in values:
        values["save_strategy"] = "steps" if "save_steps" in values else values["eval_strategy"]
    if values["save_strategy"] == "steps":
        values.setdefault("save_steps", values.get("eval_steps") or LOGGING_STEPS)


def resolve_best(values: TrainingValues, main_metric: str) -> None:
    """Load the best checkpoint at the end where every save has a score; refuse where it was asked for and has none."""
    reason = find_unscored_saves(values)
    if reason and values.get("load_best_model_at_end"):
        raise UsageError(
            Problem(f"--load_best_model_at_end: {reason}", remedy="let --save_steps be a multiple of --eval_steps")
        )
    values.setdefault("load_best_model_at_end", values["eval_strategy"] != "no" and not reason)
    if values["load_best_model_at_end"]:
        values["metric_for_best_model"] = values.get("metric_for_best_model") or main_metric
        logger.info("The best checkpoint is chosen by validation %s.", values["metric_for_best_model"])


def find_unscored_saves(values: TrainingValues) -> str:
    """Why a checkpoint could lack a validation score; empty where each has one."""
    save, evaluate = values["save_strategy"], values["eval_strategy"]
    if save == "no":
        return "nothing is saved (--save_strategy no)"
    if save == "best":
        return ""
    if save != evaluate:
        return f"checkpoints are saved by {save} and scored by {evaluate}"
    saved, scored = values.get("save_steps"), values.get("eval_steps")
    if save == "steps" and saved and scored and not is_multiple(saved, scored):
        return f"checkpoints are saved every {saved} steps and scored every {scored}"
    return ""


def is_multiple(steps: float, of: float) -> bool:
    """Whether every `steps`-th step is also an `of`-th one; both may be shares of all steps."""
    ratio = steps / of
    return abs(ratio - round(ratio)) < 1e-6 and (steps < 1) == (of < 1)
