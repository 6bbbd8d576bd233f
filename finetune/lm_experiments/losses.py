"""Several losses of one split, reduced to one; and the cross-entropy of each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from finetune.encoding.padding import IGNORED
from finetune.errors import Problem, UsageError
from finetune.language_modeling.losses import NextTokenLoss
from finetune.training.losses import TokenLoss

LossFunction = Callable[[Any, torch.Tensor], torch.Tensor]
OF_A_TENSOR = ("torch", "builtins", "torch._C", "torch._C._VariableFunctions")


class SplitLoss(TokenLoss):
    """The losses of one split by name, and the function that makes one of them.

    A loss is called with the outputs and labels of a batch and gives a number, or one for each example, whose mean counts.
    One that has an attribute `calls` draws by it: it is set to the number of the batch, so that a run that goes on draws
    what an undisturbed one would.
    """

    def __init__(self, losses: Mapping[str, LossFunction], reduction: Callable[..., torch.Tensor] = torch.sum) -> None:
        super().__init__()
        self.losses, self.reduction = dict(losses), reduction

    def compute(self, outputs: Any, labels: torch.Tensor, call: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The reduced loss of a batch and its parts, each a number; `call` counts batches from 0."""
        parts = {}
        for name, loss in self.losses.items():
            if hasattr(loss, "calls"):
                loss.calls = call
            parts[name] = loss(outputs, labels).float().mean()
        total = reduce_losses(self.reduction, list(parts.values()))
        self.watch(total)
        return total, {name: part.detach() for name, part in parts.items()}


def reduce_losses(reduction: Callable[..., Any], losses: list[torch.Tensor]) -> torch.Tensor:
    """One loss of several: functions of torch and Python get them as one tensor, others each as an argument.

    Raises:
        UsageError: the function gives no single number.
    """
    own = getattr(reduction, "__module__", None) not in (None, *OF_A_TENSOR)
    reduced = reduction(*losses) if own else reduction(torch.stack(losses))
    if not isinstance(reduced, torch.Tensor) or reduced.numel() != 1:
        name = getattr(reduction, "__name__", "the function")
        found = f"--loss_reduction_fns: {name} makes no single tensor of {len(losses)} losses"
        raise UsageError(Problem(found, "torch.sum, torch.mean and torch.max do"))
    return reduced.reshape(())


def row_losses(logits: torch.Tensor, labels: torch.Tensor, task: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean cross-entropy in nats of each row's labelled tokens (rows,), nan without any, and their number (rows,).

    Args:
        logits: (rows, length, vocabulary).
        labels: (rows, length), -100 where nothing is predicted.
        task: `lm` predicts at each position the label of the next one.
    """
    loss: TokenLoss = NextTokenLoss() if task == "lm" else TokenLoss()
    counts = count_labels(labels, task)
    return loss.per_position(logits, labels).sum(-1) / counts, counts


def count_labels(labels: torch.Tensor, task: str) -> torch.Tensor:
    """How many tokens of each row (rows,) are predicted; the first of a causal row never is."""
    return (labels[:, 1:] if task == "lm" else labels).ne(IGNORED).sum(-1)
