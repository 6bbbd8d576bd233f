"""Features -> tensors: rows of unequal length padded into one batch.

A collator gives the model's inputs and the labels, nothing else: columns that only we read (`word_positions`, `sentence`)
stay in the data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from finetune.encoding.padding import IGNORED, pad_rows, padded_width, real_positions


@dataclass(frozen=True)
class TaggingCollator:
    """Pads rows of a token classifier to the longest of the batch.

    Parameters
    ----------
    pad_token_id, pad_token_type_id
        What `input_ids` and `token_type_ids` are padded with; labels are padded with -100.
    pad_to_multiple_of
        Widths are rounded up to a multiple of this.
    padding_side
        "right" or "left", as the tokenizer has it.
    model_input_names
        What the model takes; `attention_mask` is made if it is among them, columns of the rows are handed on if they are.
    max_length
        Pad every batch to this width (or to its longest row, if that is longer), not only as far as it needs.
    """

    pad_token_id: int
    pad_to_multiple_of: int | None = None
    padding_side: str = "right"
    model_input_names: Sequence[str] = ("input_ids", "attention_mask")
    max_length: int | None = None
    pad_token_type_id: int = 0

    @classmethod
    def for_tokenizer(cls, tokenizer: PreTrainedTokenizerBase, *, max_length: int | None = None) -> Self:
        """A collator that pads as this tokenizer would."""
        return cls(
            pad_token_id=0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
            padding_side=tokenizer.padding_side,
            model_input_names=tuple(tokenizer.model_input_names),
            max_length=max_length,
            pad_token_type_id=tokenizer.pad_token_type_id,
        )

    def __call__(self, features: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, torch.Tensor]:
        """Tensors (batch, width), dtype int64, of `input_ids`, `attention_mask`, `token_type_ids`, `labels`."""
        lengths = np.array([len(row["input_ids"]) for row in features])
        width = padded_width(int(lengths.max()), self.max_length, self.pad_to_multiple_of)
        is_real = real_positions(lengths, width, self.padding_side)
        padding = {"input_ids": self.pad_token_id, "token_type_ids": self.pad_token_type_id, "labels": IGNORED}
        wanted = {*self.model_input_names, "labels"}
        batch = {
            name: torch.from_numpy(pad_rows([row[name] for row in features], is_real, value))
            for name, value in padding.items()
            if name in wanted and name in features[0]
        }
        if "attention_mask" in wanted:
            batch["attention_mask"] = torch.from_numpy(is_real.astype(np.int64))
        return batch


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
