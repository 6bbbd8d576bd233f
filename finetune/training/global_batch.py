"""A run that goes on with another number of processes takes as many rows a step as before: else it were another training."""

from __future__ import annotations

from transformers import TrainingArguments

from finetune.errors import Problem, UsageError
from finetune.run.folder import Run

ROWS = "rows_per_step"


def require_same_batch(run: Run, arguments: TrainingArguments) -> None:
    """Keep how many rows a step takes, over all processes; refuse to go on with another number.

    Raises:
        UsageError: the run began with more or fewer.
    """
    processes = max(arguments.world_size, 1)
    rows = arguments.train_batch_size * processes * arguments.gradient_accumulation_steps
    before = run.recall(ROWS)
    if run.checkpoint is not None and before not in (None, rows):
        found = f"a step of this run takes {before:,} rows, and would take {rows:,} with {processes} processes now"
        remedy = "set --per_device_train_batch_size or --gradient_accumulation_steps so that the product stays"
        raise UsageError(Problem(found, remedy=remedy))
    run.record(**{ROWS: rows})
