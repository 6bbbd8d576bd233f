"""Rows of a token store -> padded batches of masked and causal language models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from finetune.encoding.blocks import DOCUMENT_START, WORD_START
from finetune.encoding.masking import Masker, labelled_positions
from finetune.encoding.padding import IGNORED, pad_rows, padded_width, real_positions


@dataclass(frozen=True)
class MaskingCollator:
    """Pads examples of a token store and masks the whole batch at once, anew in every epoch.

    Parameters
    ----------
    masker
        Decides what is predicted, by each example's `draw`.
    pad_token_id, pad_to_multiple_of, padding_side, max_length
        As for `TaggingCollator`; the padding token must be special to the masker.
    sparse
        For a sparse head: also give `labelled_positions` (1, n) of the flattened batch, with "selected" also the labels
        of those positions only (1, n), which no accelerator has to wait for, but which cannot be cut up by rows.
    """

    masker: Masker
    pad_token_id: int
    pad_to_multiple_of: int | None = None
    padding_side: str = "right"
    max_length: int | None = None
    sparse: Literal["", "selected", "positions"] = ""

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Tensors (batch, width), dtype int64: `input_ids`, `attention_mask`, `labels` (-100 where nothing is predicted)."""
        lengths = np.array([len(row["input_ids"]) for row in features])
        width = padded_width(int(lengths.max()), self.max_length, self.pad_to_multiple_of)
        is_real = real_positions(lengths, width, self.padding_side)
        ids = pad_rows([row["input_ids"] for row in features], is_real, self.pad_token_id)
        starts = None
        if self.masker.whole_words:
            starts = pad_rows([row["flags"] for row in features], is_real, WORD_START) & WORD_START > 0
        inputs, labels = self.masker.mask(ids, [row["draw"] for row in features], starts)
        batch = {"input_ids": inputs, "attention_mask": is_real.astype(np.int64), "labels": labels}
        if self.sparse:
            batch["labelled_positions"], selected = labelled_positions(labels)
            batch["labels"] = selected if self.sparse == "selected" else labels
        return {name: torch.from_numpy(values) for name, values in batch.items()}


@dataclass(frozen=True)
class CausalCollator:
    """Pads examples of a token store for a causal model; `labels` are the ids, the model's loss shifts them.

    Parameters
    ----------
    pad_token_id, pad_to_multiple_of
        As for `TaggingCollator`; padding is on the right.
    apart
        Tell documents apart by positions that start anew with each (transformers keeps attention within such runs when
        there is no attention mask). The first token of a document is not predicted then.
    """

    pad_token_id: int
    pad_to_multiple_of: int | None = None
    apart: bool = False

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Tensors (batch, width), dtype int64: `input_ids`, `labels`, `attention_mask` or `position_ids`."""
        lengths = np.array([len(row["input_ids"]) for row in features])
        is_real = real_positions(lengths, padded_width(int(lengths.max()), None, self.pad_to_multiple_of))
        rows = [row["input_ids"] for row in features]
        batch = {
            "input_ids": pad_rows(rows, is_real, self.pad_token_id),
            "labels": pad_rows(rows, is_real, IGNORED),
        }
        if self.apart:
            starts = pad_rows([row["flags"] for row in features], is_real, DOCUMENT_START) & DOCUMENT_START > 0
            batch["labels"][starts] = IGNORED
            batch["position_ids"] = positions_within(starts)
        else:
            batch["attention_mask"] = is_real.astype(np.int64)
        return {name: torch.from_numpy(values) for name, values in batch.items()}


def positions_within(starts: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Positions (batch, width) counted from the last start at or before each place.

    >>> positions_within(np.array([[False, False, True, False]]))
    array([[0, 1, 0, 1]])
    """
    columns = np.arange(starts.shape[1])
    return columns - np.maximum.accumulate(np.where(starts, columns, 0), axis=1)
