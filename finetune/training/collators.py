"""Features -> tensors: rows of unequal length padded into one batch.

A collator gives the model's inputs and the labels, nothing else: columns that only we read (`word_positions`, `sentence`)
stay in the data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from finetune.encoding.batches import RowPadder


@dataclass(frozen=True)
class TaggingCollator(RowPadder):
    """Pads rows of a token classifier to the longest of the batch."""

    def __call__(self, features: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, torch.Tensor]:
        """Tensors (batch, width), dtype int64, of `input_ids`, `attention_mask`, `token_type_ids`, `labels`."""
        return {name: torch.from_numpy(array) for name, array in self.pad(features).items()}


@dataclass(frozen=True)
class ClassificationCollator(TaggingCollator):
    """Pads rows of a classifier of whole texts; labels are one number, or several decisions, per row."""

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """As a tagger's batch, but `labels` (batch,) of int64 ids or float32 values, or float32 (batch, labels)."""
        inputs = [{name: value for name, value in row.items() if name != "labels"} for row in features]
        batch = super().__call__(inputs)
        if "labels" in features[0]:
            labels = np.array([row["labels"] for row in features])
            batch["labels"] = torch.from_numpy(labels.astype(np.int64 if labels.dtype.kind == "i" else np.float32))
        return batch
