"""An exported model beside the one that it was: the same batches through both, and scores where answers are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

CLOSE = 1e-4  # logits of floats: the greatest difference, over the greatest logit where that is more than 1
LOSS = 0.005  # of the main score, in eight bits: half a point


@dataclass(frozen=True)
class Batch:
    """What a model was given, and its logits (rows, ..., labels)."""

    inputs: dict[str, Tensor]
    logits: Tensor


@dataclass(frozen=True)
class Comparison:
    """The exported model beside the original: how far logits are apart, and the main score of both where there is one."""

    difference: float
    rows: int
    metric: str | None = None
    scores: tuple[float, float] | None = None  # of the original, of the exported model
    files: dict[str, Any] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        return 0.0 if self.scores is None else self.scores[0] - self.scores[1]

    def as_dict(self) -> dict[str, Any]:
        """For export_report.json and the last line."""
        told: dict[str, Any] = {"rows": self.rows, "largest_difference_of_logits": self.difference}
        if self.scores is not None:
            told |= {"metric": self.metric, "original": self.scores[0], "exported": self.scores[1]}
        return told


@contextmanager
def recorded(model: nn.Module) -> Iterator[list[Batch]]:
    """The list fills with every batch that the model is given inside."""
    batches: list[Batch] = []

    def keep(_: nn.Module, __: tuple[Any, ...], inputs: dict[str, Any], outputs: Any) -> None:
        tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        batches.append(Batch(tensors, outputs["logits"].detach().float()))

    handle = model.register_forward_hook(keep, with_kwargs=True)
    try:
        yield batches
    finally:
        handle.remove()


def find_difference(run: Callable[..., Any], batches: Sequence[Batch]) -> float:
    """The greatest difference of logits, padding left out, over the greatest logit where that is more than 1."""
    largest, scale = 0.0, 1.0
    for batch in batches:
        with torch.no_grad():
            logits = run(**batch.inputs)["logits"].float()
        apart = (logits - batch.logits).abs()
        real = batch.inputs.get("attention_mask")
        if real is not None and apart.dim() == real.dim() + 1:
            apart = apart[real.bool()]
        largest = max(largest, float(apart.max()))
        scale = max(scale, float(batch.logits.abs().max()))
    return largest / scale
