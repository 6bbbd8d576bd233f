"""A split is evaluated whole: every row once and in order, and handed over in one piece, whatever training does."""

from __future__ import annotations

import logging
from typing import Any, cast

from finetune.arguments.training_table import TrainingValues
from finetune.errors import Problem, UsageError

logger = logging.getLogger(__name__)

EVALUATED_WHOLE = {"batch_eval_metrics": False, "eval_do_concat_batches": True, "prediction_loss_only": False}


def resolve_evaluation(values: TrainingValues) -> TrainingValues:
    """`values` without what would hand over an evaluated split in pieces, or as a loss alone.

    Raises:
        UsageError: labels are to be smoothed, and the task, which would have taken the value out, does not do that.
    """
    if values.get("label_smoothing_factor"):
        found = f"--label_smoothing_factor {values['label_smoothing_factor']} is not for this task"
        raise UsageError(Problem(found, remedy="drop it"))
    given: dict[str, Any] = dict(values)
    for name, whole in EVALUATED_WHOLE.items():
        if given.get(name, whole) != whole:
            said = "--%s %s is passed over: scores and reports are made of a whole split."
            logger.warning(said, name, given.pop(name))
    return cast(TrainingValues, given)
