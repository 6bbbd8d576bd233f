"""A model over rows of ids: logits in the order of the rows, computed in batches of like length."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import PreTrainedModel

from finetune.encoding.batches import TOKENS_AT_ONCE, group_by_length
from finetune.errors import UsageError
from finetune.models.families import find_family
from finetune.models.inference import inference
from finetune.run.ahead import read_ahead
from finetune.run.launcher import count_processes, find_local_rank

logger = logging.getLogger(__name__)

Collate = Callable[[list[Any]], dict[str, torch.Tensor]]


def tell_missing_gpus() -> None:
    """One line where `CUDA_VISIBLE_DEVICES` asks for GPUs and there is none: the CPU would be taken in silence."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    if wanted and not wanted.startswith("-") and not torch.cuda.is_available():
        logger.warning("CUDA_VISIBLE_DEVICES is %s, but there is no GPU that torch can use: the CPU is used.", wanted)


def choose_device(asked: str) -> torch.device:
    """`auto` takes the first GPU where there is one, each of several processes its own.

    Raises:
        UsageError: there is no such device.
    """
    tell_missing_gpus()
    if asked == "auto":
        own = f"cuda:{find_local_rank()}" if count_processes() > 1 else "cuda"
        return torch.device(own if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        count = torch.cuda.device_count()
        raise UsageError(f"--device {asked} is not there; this machine has cpu and {count} CUDA devices") from error
    return device


@dataclass(frozen=True)
class Computed:
    """One batch: which rows it holds, what the collator made of them, and the model's logits."""

    rows: list[int]
    inputs: dict[str, Any]
    logits: torch.Tensor


def compute_batches(
    model: nn.Module, read: Callable[[list[int]], dict[str, Any]], batches: Iterable[list[int]], *, bf16: bool
) -> Iterator[Computed]:
    """Logits batch by batch, weights made ready once, and the next batch made by a thread while one is computed.

    `read` makes the model's inputs of some rows; labels among them are not given to the model.
    """
    device = next(model.parameters()).device
    with inference(model, bf16=bf16):
        for rows, inputs in read_ahead((rows, read(rows)) for rows in batches):
            given = {name: _to(value, device) for name, value in inputs.items() if name != "labels"}
            outputs = model(**given)
            yield Computed(rows, inputs, outputs["logits"])


def _to(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value


def predict_logits(
    model: PreTrainedModel, rows: Sequence[Mapping[str, Any]], collate: Collate, *, batch_size: int, bf16: bool = False
) -> list[npt.NDArray[np.float32]]:
    """Logits of each row, (width of its batch, labels) for taggers and (labels,) for classifiers, in the order of `rows`.

    Rows of like length share a batch, so that hardly any padding is computed, and none where the family reads padding. A
    batch has `batch_size` rows, or more where those are short: up to `TOKENS_AT_ONCE` with their padding.
    """
    logits: list[npt.NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(rows)
    lengths = [len(row["input_ids"]) for row in rows]
    one_length = find_family(model.config).reads_padding
    batches = group_by_length(lengths, batch_size=batch_size, tokens=TOKENS_AT_ONCE, one_length=one_length)
    for batch in compute_batches(model, lambda chosen: collate([rows[i] for i in chosen]), batches, bf16=bf16):
        for index, row in zip(batch.rows, batch.logits.float().cpu().numpy(), strict=True):
            logits[index] = row
    return logits


@dataclass(frozen=True)
class TorchNetwork:
    """A model of torch as a `Network`."""

    model: PreTrainedModel
    collate: Collate
    padding_side: str = "right"
    bf16: bool = False

    def predict(self, rows: Sequence[Mapping[str, Any]], *, batch_size: int) -> list[npt.NDArray[np.float32]]:
        """As `predict_logits`."""
        return predict_logits(self.model, rows, self.collate, batch_size=batch_size, bf16=self.bf16)
