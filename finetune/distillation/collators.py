"""Rows -> padded batches for a student and its teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from finetune.distillation.weighted_masking import WeightedMasker
from finetune.encoding.masking import labelled_positions
from finetune.encoding.padding import IGNORED, pad_rows, real_positions
from finetune.training.collators import ClassificationCollator, TaggingCollator


@dataclass(frozen=True)
class DistillationTaggingCollator(TaggingCollator):
    """A tagger's batch for student and teacher, with what of the teacher was kept."""

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """As a tagger's, and `loss_mask` (batch, width): 1 at the subword of each word that its tag is read from."""
        batch = super().__call__(features)
        width = batch["input_ids"].shape[1]
        is_real = real_positions(np.array([len(row["input_ids"]) for row in features]), width, self.padding_side)
        places = pad_rows([row["word_positions"] for row in features], is_real, IGNORED)
        return {
            **batch,
            "loss_mask": torch.from_numpy((places != IGNORED).astype(np.int64)),
            **stack_teacher_logits(features),
        }


@dataclass(frozen=True)
class DistillationClassificationCollator(ClassificationCollator):
    """A classifier's batch for student and teacher, with what of the teacher was kept."""

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """As a classifier's, and `loss_mask`, ones in the shape of `labels`: every text is decided, labelled or not."""
        batch = super().__call__(features)
        loss_mask = torch.ones_like(batch["labels"], dtype=torch.int64)
        return {**batch, "loss_mask": loss_mask, **stack_teacher_logits(features)}


def stack_teacher_logits(features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """`teacher_ids` (1, n, K) and `teacher_values` (1, n, K + 1) of all rows; nothing where a live teacher is asked."""
    if "teacher_ids" not in features[0]:
        return {}
    ids = np.concatenate([row["teacher_ids"] for row in features])[None].astype(np.int64)
    values = np.concatenate([row["teacher_values"] for row in features])[None].astype(np.float32)
    return {"teacher_ids": torch.from_numpy(ids), "teacher_values": torch.from_numpy(values)}


@dataclass(frozen=True)
class DistillationCollator:
    """Pads examples for a student and its teacher, and says at which positions logits are needed.

    Parameters
    ----------
    pad_token_id
        What `input_ids` are padded with, on the right.
    masker
        Masks the input and gives the labels; without one each label is the next id.
    labelled_only
        Logits are needed where a label is; otherwise at every real position.
    """

    pad_token_id: int
    masker: WeightedMasker | None = None
    labelled_only: bool = False

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """`input_ids`, `attention_mask` (batch, width); `positions` of the flattened batch, `counted`, `labels` (1, n).

        `counted` is 0 at the filler that rounds n up; `labels` are -100 where nothing is predicted. What of the teacher
        was kept is handed on, in the order of counted positions.
        """
        lengths = np.array([len(row["input_ids"]) for row in features])
        is_real = real_positions(lengths, int(lengths.max()))
        ids = pad_rows([row["input_ids"] for row in features], is_real, self.pad_token_id)
        if self.masker is None:
            inputs, labels = ids, next_ids(ids, is_real)
        else:
            inputs, labels = self.masker.mask(ids, [row["draw"] for row in features], lengths)
        needed = labels if self.labelled_only else np.where(is_real, 0, IGNORED)
        positions, counted = labelled_positions(needed)
        is_counted = counted != IGNORED
        batch = {
            "input_ids": inputs,
            "attention_mask": is_real.astype(np.int64),
            "positions": positions,
            "counted": is_counted.astype(np.int64),
            "labels": np.where(is_counted, labels.ravel()[positions], IGNORED),
        }
        return {name: torch.from_numpy(values) for name, values in batch.items()} | stack_teacher_logits(features)


def next_ids(ids: npt.NDArray[np.int64], is_real: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The id after each position, (batch, width); -100 where none follows."""
    following = np.full_like(ids, IGNORED)
    following[:, :-1] = np.where(is_real[:, 1:], ids[:, 1:], IGNORED)
    return following
