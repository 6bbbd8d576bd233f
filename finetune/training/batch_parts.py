"""`--auto_find_batch_size`: batches that memory does not hold are computed in parts; the effective batch stays as it is.

transformers makes the batch itself smaller, so that every later step learns from fewer rows, at the same learning rate; and
what a step had gathered before it ran out of memory is lost. Here the step is done again from its first batch, each batch
cut into twice as many parts. Losses are sums divided by the items of the whole step (`losses.py`), so that the gradients
of the parts add up to those of the whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer

from finetune.encoding.padding import IGNORED
from finetune.errors import Problem, UsageError
from finetune.run.failures import is_out_of_memory

logger = logging.getLogger(__name__)

PARTS = "batch_parts"  # in the log history, which every checkpoint holds: a resumed run goes on with as many
FLAT = ("read_positions", "labelled_positions")  # (1, n) places in (batch * width), as some collators name them
BY_ROW = frozenset(
    {"input_ids", "attention_mask", "token_type_ids", "position_ids", "labels", "sequence_lengths", *FLAT}
)

Inputs = Mapping[str, Any]
Step = Callable[[nn.Module, Any, Any], Tensor]  # the Trainer's training_step: forward, backward, the detached loss


class BatchParts:
    """Computes the batches of each step in as many parts as memory demands, which is found out as it fails."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.parts: int | None = None
        self.step_so_far: list[Inputs] = []  # the batches of this step, ids and masks alone

    def step(self, plain: Step, model: nn.Module, inputs: Inputs, items: Any) -> Tensor:
        """One batch of a step; returns its loss, as `plain` does."""
        if self.parts is None:
            self.parts = max((int(entry.get(PARTS, 1)) for entry in self.trainer.state.log_history), default=1)
        self.step_so_far.append(inputs)
        loss, error = self._try(plain, model, [inputs], items)
        while error is not None:
            self._cut_finer(error, items)
            del error
            clear_device_cache(garbage_collection=True)
            model.zero_grad(set_to_none=True)  # of a batch whose gradients are there in part
            loss, error = self._try(plain, model, self.step_so_far, items)
        if self.trainer.accelerator.sync_gradients:
            self.step_so_far = []
        assert loss is not None
        return loss

    def _try(
        self, plain: Step, model: nn.Module, batches: list[Inputs], items: Any
    ) -> tuple[Tensor | None, BaseException | None]:
        """The loss of the last of the batches, or that memory ran out, without the frames that hold it."""
        try:
            losses = [self._compute(plain, model, inputs, items) for inputs in batches]
            return losses[-1], None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None, error.with_traceback(None)

    def _compute(self, plain: Step, model: nn.Module, inputs: Inputs, items: Any) -> Tensor:
        parts = cut(inputs, self.parts or 1)
        losses = [plain(model, part, items) for part in parts]
        return torch.stack(losses).sum()

    def _cut_finer(self, error: BaseException, items: Any) -> None:
        """Twice as many parts from now on.

        Raises:
            RuntimeError, MemoryError: `error`, where the parts are single rows already, or cannot be added up.
        """
        rows = max(count_rows(inputs) for inputs in self.step_so_far)
        unknown = sorted(set().union(*self.step_so_far) - BY_ROW)
        if unknown:
            logger.error("Batches with %s cannot be cut into parts.", ", ".join(unknown))
        assert self.parts is not None
        if self.parts >= rows or unknown or items is None:
            raise error
        self.parts = min(self.parts * 2, rows)
        state = self.trainer.state
        state.log_history.append({PARTS: self.parts, "step": state.global_step + 1, "epoch": state.epoch or 0.0})
        logger.warning(
            "Out of memory with batches of %d rows: from step %d on each is computed in %d parts. The effective batch "
            "is what it was.", rows, state.global_step + 1, self.parts,
        )  # fmt: skip


def cut_batches(trainer: Trainer) -> BatchParts:
    """Prepare a Trainer for batches in parts.

    Raises:
        UsageError: it trains on several devices, of which one alone may run out of memory, or something else than a model.
    """
    devices = max(trainer.args.world_size, trainer.args.n_gpu)
    problems = []
    if devices > 1:
        found = f"--auto_find_batch_size with {devices} devices: one of them may run out of memory while others do not"
        problems.append(Problem(found, remedy="choose --per_device_train_batch_size yourself"))
    if not isinstance(trainer.model, PreTrainedModel):
        found = "--auto_find_batch_size: the batches of a distillation cannot be cut into parts"
        problems.append(Problem(found, remedy="choose the batch size yourself"))
    if problems:
        raise UsageError(*problems)
    return BatchParts(trainer)


def count_rows(inputs: Inputs) -> int:
    return len(inputs["input_ids"])


def cut(inputs: Inputs, parts: int) -> list[dict[str, Any]]:
    """A batch as `parts` batches of neighbouring rows, at most one a row; padding stays as wide as it is."""
    rows = count_rows(inputs)
    parts = min(parts, rows)
    if parts <= 1:
        return [dict(inputs)]
    bounds = [number * rows // parts for number in range(parts + 1)]
    return [_rows_of(inputs, first, last) for first, last in pairwise(bounds)]


def _rows_of(inputs: Inputs, first: int, last: int) -> dict[str, Any]:
    """Rows `first` to `last` of a batch, with what belongs to them of what is flattened."""
    width, part = inputs["input_ids"].shape[1], {}
    for name, value in inputs.items():
        if name in FLAT:
            part[name] = _keep(value, _within(value, first * width, last * width)) - first * width
        elif name == "labels" and _holds_selected(inputs):
            positions = inputs["labelled_positions"]
            part[name] = _keep(value, _within(positions, first * width, last * width), IGNORED)
        else:
            part[name] = value[first:last]
    return part


def _holds_selected(inputs: Inputs) -> bool:
    """Whether labels are those of the labelled positions alone, (1, n), instead of (batch, width)."""
    positions = inputs.get("labelled_positions")
    return positions is not None and inputs["labels"].shape == positions.shape and len(inputs["input_ids"]) > 1


def _within(positions: Tensor, first: int, last: int) -> tuple[Tensor, int]:
    """Which of the positions (1, n) lie in a part, and where the part begins."""
    return (positions >= first) & (positions < last), first


def _keep(values: Tensor, place: tuple[Tensor, int], filler: int | None = None) -> Tensor:
    """Those of the values (1, n) in a part, at least one: a part that nobody reads names its first position, unlabelled."""
    chosen, begin = place
    kept = values[chosen]
    return (kept if len(kept) else values.new_tensor([begin if filler is None else filler]))[None]
