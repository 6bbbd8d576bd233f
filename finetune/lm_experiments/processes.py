"""What the processes of one training share out and tell each other: whole batches, in their order, each in one process.

A batch is what losses are computed of and tables number, so none is cut up: N processes with k batches each for an update
are one process with N times k. Batch number n is that of process n modulo N, counted from 0.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.data_loader import BatchSamplerShard

from finetune.errors import Problem, UsageError
from finetune.run.folder import Run
from finetune.run.launcher import count_processes, is_main_process

BATCH = "texts_per_batch"

Value = TypeVar("Value")


class WholeBatches(BatchSamplerShard):
    """The batches of one process. Where the last turn of an epoch has none for it, it gets the last one, and skips it."""

    def __iter__(self) -> Iterator[list[int]]:
        turn: list[list[int]] = []
        for batch in self.batch_sampler:
            turn.append(batch)
            if len(turn) == self.num_processes:
                yield turn[self.process_index]
                turn = []
        if turn:
            yield turn[min(self.process_index, len(turn) - 1)]


def speak_with_one_voice() -> None:
    """Leave to the first process what all would say: they read the same texts, and it counts what each has scored."""
    if not is_main_process():
        logging.getLogger("finetune").setLevel(logging.ERROR)


def agree_on(value: Value, *, on_processor: bool) -> Value:
    """What the first process says, in all of them; none goes on before all are here."""
    if count_processes() == 1:
        return value
    PartialState(cpu=on_processor)  # joins them, and takes the GPU of this one
    told = [value]
    torch.distributed.broadcast_object_list(told, src=0)
    return told[0]


def gather_all(value: Value) -> list[Value]:
    """That of every process, in their order, in each of them."""
    if not _are_several():
        return [value]
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, value)
    return found


def gather_first(value: Value) -> list[Value]:
    """That of every process, in their order, in the first of them; nothing in the others."""
    if not _are_several():
        return [value]
    is_first = torch.distributed.get_rank() == 0
    found: list[Any] | None = [None] * torch.distributed.get_world_size() if is_first else None
    torch.distributed.gather_object(value, found)
    return found or []


def _are_several() -> bool:
    return torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1


def require_same_texts(run: Run, size: int) -> None:
    """Keep how many texts a batch has; refuse to go on with another number: tables and losses are of batches.

    Raises:
        UsageError: the run began with more or fewer.
    """
    before = run.recall(BATCH)
    if run.checkpoint is not None and before not in (None, size):
        found = f"a batch of this run has {before:,} texts, and would have {size:,} now"
        remedy = (
            "leave --per_device_train_batch_size, and set --gradient_accumulation_steps for the number of processes"
        )
        raise UsageError(Problem(found, remedy=remedy))
    run.record(**{BATCH: size})
