"""A model over rows of ids: logits in the order of the rows, computed in batches of like length."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from finetune.errors import UsageError
from finetune.models.families import find_family

logger = logging.getLogger(__name__)

TOKENS_AT_ONCE = 2048  # of short rows in a batch: `batch_size` of them would be little work at a time
Collate = Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]


def tell_missing_gpus() -> None:
    """One line where `CUDA_VISIBLE_DEVICES` asks for GPUs and there is none: the CPU would be taken in silence."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    if wanted and not wanted.startswith("-") and not torch.cuda.is_available():
        logger.warning("CUDA_VISIBLE_DEVICES is %s, but there is no GPU that torch can use: the CPU is used.", wanted)


def choose_device(asked: str) -> torch.device:
    """`auto` takes the first GPU where there is one.

    Raises:
        UsageError: there is no such device.
    """
    tell_missing_gpus()
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        count = torch.cuda.device_count()
        raise UsageError(f"--device {asked} is not there; this machine has cpu and {count} CUDA devices") from error
    return device


def group_by_length(
    lengths: Sequence[int], *, batch_size: int, tokens: int, one_length: bool = False
) -> Iterator[list[int]]:
    """Indices of rows, longest first, in batches of `batch_size` rows or as many as `tokens` hold, whichever are more.

    one_length: rows of different lengths share no batch, so that none is padded.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    start = 0
    while start < len(order):
        longest = lengths[order[start]]
        batch = order[start : start + max(batch_size, tokens // max(1, longest))]
        if one_length:
            batch = [index for index in batch if lengths[index] == longest]
        yield batch
        start += len(batch)


@torch.inference_mode()
def predict_logits(
    model: PreTrainedModel, rows: Sequence[dict[str, Any]], collate: Collate, *, batch_size: int, bf16: bool = False
) -> list[npt.NDArray[np.float32]]:
    """Logits of each row, (width of its batch, labels) for taggers and (labels,) for classifiers, in the order of `rows`.

    Rows of like length share a batch, so that hardly any padding is computed, and none where the family reads padding. A
    batch has `batch_size` rows, or more where those are short: up to `TOKENS_AT_ONCE` with their padding.
    """
    model.eval()
    logits: list[npt.NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(rows)
    lengths = [len(row["input_ids"]) for row in rows]
    one_length = find_family(model.config).reads_padding
    for chosen in group_by_length(lengths, batch_size=batch_size, tokens=TOKENS_AT_ONCE, one_length=one_length):
        batch = collate([rows[index] for index in chosen])
        batch.pop("labels", None)
        tensors = {name: tensor.to(model.device) for name, tensor in batch.items()}
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            output = model(**tensors).logits.float().cpu().numpy()
        for index, row in zip(chosen, output, strict=True):
            logits[index] = row
    return logits
