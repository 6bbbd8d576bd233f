"""Pregenerated BERT instances -> padded batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from finetune.encoding.masking import labelled_positions
from finetune.encoding.padding import IGNORED, pad_rows, real_positions


@dataclass(frozen=True)
class PretrainingCollator:
    """Pads pregenerated BERT instances.

    Parameters
    ----------
    pad_token_id
        What `input_ids` are padded with, on the right.
    has_segments
        Whether the model takes token types of two segments.
    sparse
        Also give `labelled_positions` (1, n) of the flattened batch, for a sparse head.
    """

    pad_token_id: int
    has_segments: bool = True
    sparse: bool = False

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Tensors (batch, width), dtype int64; `labels` (batch, 1 + width) has the next-sentence label in column 0."""
        lengths = np.array([len(row["input_ids"]) for row in features])
        is_real = real_positions(lengths, int(lengths.max()))
        subwords = pad_rows([row["labels"] for row in features], is_real, IGNORED)
        next_sentence = np.array([[row["next_sentence_label"]] for row in features], dtype=np.int64)
        batch = {
            "input_ids": pad_rows([row["input_ids"] for row in features], is_real, self.pad_token_id),
            "attention_mask": is_real.astype(np.int64),
            "labels": np.concatenate([next_sentence, subwords], axis=1),
        }
        if self.has_segments:
            batch["token_type_ids"] = pad_rows([row["token_type_ids"] for row in features], is_real, 0)
        if self.sparse:
            batch["labelled_positions"], _ = labelled_positions(subwords)
        return {name: torch.from_numpy(values) for name, values in batch.items()}
