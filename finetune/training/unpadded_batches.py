"""What collators tell an unpadded encoder beside its inputs: which positions are read, and how long the texts are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from finetune.encoding.padding import IGNORED, pad_rows, real_positions
from finetune.models.sparse_mlm_head import select_labelled
from finetune.models.unpadding.hooks import is_unpadded
from finetune.training.collators import TaggingCollator

if TYPE_CHECKING:
    from transformers import Trainer  # which brings peft along


@dataclass(frozen=True)
class ReadPositions:
    """A tagger's collator that also names the positions that somebody reads: labelled ones, and those that decide a word.

    The last layer leaves out the others (`finetune.models.unpadding.read_rows`).
    """

    collator: TaggingCollator

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The batch with `read_positions`, (1, n) of the flattened (batch * width), where the rows say which they are."""
        batch: dict[str, Any] = self.collator(features)
        lengths = np.array([len(row["input_ids"]) for row in features])
        is_real = real_positions(lengths, batch["input_ids"].shape[1], self.collator.padding_side)
        columns = [name for name in ("labels", "word_positions") if name in features[0]]
        read = [pad_rows([row[name] for row in features], is_real, IGNORED) != IGNORED for name in columns]
        if not read or not np.any(read):
            return batch
        positions, _ = select_labelled(torch.from_numpy(np.where(np.any(read, axis=0), 0, IGNORED)))
        return batch | {"read_positions": positions}


@dataclass(frozen=True)
class HostLengths:
    """A collator that also gives `sequence_lengths` as numbers on the host, so that no step waits for an accelerator."""

    collator: Callable[[list[dict[str, Any]]], dict[str, Any]]

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        batch = self.collator(features)
        mask = batch.get("attention_mask")
        return batch if mask is None else batch | {"sequence_lengths": mask.sum(dim=1).tolist()}


def mark_read(model: Any, collator: Any) -> Any:
    """`collator`, with what an unpadded tagger's last layer has to know; sparse heads name their positions already."""
    serves = is_unpadded(model) and type(model).__name__.endswith("ForTokenClassification")
    return ReadPositions(collator) if serves and type(collator) is TaggingCollator else collator


def annotate_batches(trainer: Trainer) -> None:
    """Let the collator of `trainer` tell an unpadded model what it can use."""
    if trainer.model is None or not is_unpadded(trainer.model) or trainer.args.n_gpu > 1:
        return  # several devices in one process share a batch out by rows
    trainer.data_collator = mark_read(trainer.model, trainer.data_collator)
    if trainer.args.device.type == "cuda":
        trainer.data_collator = HostLengths(trainer.data_collator)
