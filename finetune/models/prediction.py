"""A model over rows of ids: logits in the order of the rows, computed in batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from finetune.errors import UsageError
from finetune.models.families import find_family

Collate = Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]


def choose_device(asked: str) -> torch.device:
    """`auto` takes the first GPU where there is one.

    Raises:
        UsageError: there is no such device.
    """
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        count = torch.cuda.device_count()
        raise UsageError(f"--device {asked} is not there; this machine has cpu and {count} CUDA devices") from error
    return device


@torch.inference_mode()
def predict_logits(
    model: PreTrainedModel, rows: Sequence[dict[str, Any]], collate: Collate, *, batch_size: int, bf16: bool = False
) -> list[npt.NDArray[np.float32]]:
    """Logits of each row, (width of its batch, labels) for taggers and (labels,) for classifiers, in the order of `rows`.

    Rows of like length share a batch, so that hardly any padding is computed; only rows of the same length where the family
    reads padding.
    """
    model.eval()
    logits: list[npt.NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(rows)
    lengths = [len(row["input_ids"]) for row in rows]
    for chosen in plan_batches(lengths, batch_size, one_length=find_family(model.config).reads_padding):
        batch = collate([rows[index] for index in chosen])
        batch.pop("labels", None)
        tensors = {name: tensor.to(model.device) for name, tensor in batch.items()}
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            output = model(**tensors).logits.float().cpu().numpy()
        for index, row in zip(chosen, output, strict=True):
            logits[index] = row
    return logits


def plan_batches(lengths: Sequence[int], batch_size: int, *, one_length: bool) -> Iterator[list[int]]:
    """Numbers of the rows of each batch, the longest first; `one_length`: none that would have to be padded."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    groups = [list(group) for _, group in groupby(order, key=lengths.__getitem__)] if one_length else [order]
    for group in groups:
        yield from (group[start : start + batch_size] for start in range(0, len(group), batch_size))
