"""A split is evaluated whole: every row once and in order, and handed over in one piece, whatever training does."""

from __future__ import annotations

import logging
from typing import Any, cast

from torch.utils.data import SequentialSampler
from transformers import Trainer

from finetune.arguments.training_table import TrainingValues
from finetune.errors import Problem, UsageError

logger = logging.getLogger(__name__)

EVALUATED_WHOLE = {"batch_eval_metrics": False, "eval_do_concat_batches": True, "prediction_loss_only": False}


def resolve_evaluation(values: TrainingValues) -> TrainingValues:
    """`values` without what would hand over an evaluated split in parts, or as a loss alone.

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


def evaluate_every_row(trainer: Trainer) -> None:
    """Evaluate and predict all rows in their order, whatever the batches of training are.

    transformers shuffles them with `--train_sampling_strategy group_by_length`, leaves out the last ones with
    `--dataloader_drop_last`, and waits for ever for a process that has no batch left where `even_batches` is off.
    """
    trainer._get_eval_sampler = SequentialSampler  # type: ignore[method-assign,assignment]
    make_loader, shards = trainer._get_dataloader, trainer.accelerator.dataloader_config

    def make_whole_loader(**options: Any) -> Any:
        asked = trainer.args.dataloader_drop_last, shards.even_batches
        if not options.get("is_training"):
            trainer.args.dataloader_drop_last, shards.even_batches = False, True
        try:
            return make_loader(**options)
        finally:
            trainer.args.dataloader_drop_last, shards.even_batches = asked

    trainer._get_dataloader = make_whole_loader  # type: ignore[method-assign,assignment]
