"""What the words of a training sentence weigh in the loss of a tagger: written into its label ids, read by the loss.

A loss sees logits and labels alone, so a label id says both: label + labels * place of the weight in a table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from datasets import Dataset
from datasets.table import InMemoryTable

from finetune.encoding.padding import IGNORED
from finetune.training.losses import TokenLoss


class WeightedTokenLoss(TokenLoss):
    """Cross-entropy over labelled positions, each times its sentence's weight, divided by the number of positions.

    Args:
        table: the weights, the first of which is 1: so plain label ids, as validation has them, weigh 1.
        num_labels: outputs of the model.
        class_weights, label_smoothing: as of `TokenLoss`.
    """

    def __init__(
        self,
        table: Sequence[float],
        num_labels: int,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(class_weights, label_smoothing)
        self.table, self.num_labels = torch.tensor(table, dtype=torch.float32), num_labels

    def per_position(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Float32 losses (batch, length), zero where the label is -100."""
        plain = torch.where(labels != IGNORED, labels % self.num_labels, labels)
        return super().per_position(logits, plain) * self._weights_of(labels)

    def divergences(self, one: torch.Tensor, other: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """As of `TokenLoss`, times the weights."""
        return super().divergences(one, other, labels) * self._weights_of(labels)

    def _weights_of(self, labels: torch.Tensor) -> torch.Tensor:
        places = torch.where(labels != IGNORED, labels // self.num_labels, 0)
        return self.table.to(labels.device)[places]


def count_labelled(rows: Dataset, sentences: int) -> npt.NDArray[np.int64]:
    """How many positions of each sentence (sentences,) have a label, over all its windows."""
    whole = rows.with_format("arrow")[:]
    column = whole["labels"].combine_chunks()
    windows = np.repeat(whole["sentence"].to_numpy(), column.value_lengths().to_numpy(zero_copy_only=False))
    return np.bincount(windows[column.flatten().to_numpy() != IGNORED], minlength=sentences)


def weigh_labels(rows: Dataset, weights: Sequence[float], num_labels: int) -> tuple[Dataset, list[float]]:
    """Encoded rows with the weights of their sentences in their label ids, and the table of the weights.

    Args:
        rows: windows, with `sentence` and `labels`.
        weights: of each sentence.
        num_labels: outputs of the model.
    """
    distinct = sorted({float(weight) for weight in weights} - {1.0})
    table = [1.0, *distinct]
    places = {weight: place for place, weight in enumerate(table)}
    of_sentences = np.array([places[float(weight)] for weight in weights], dtype=np.int64)
    whole = rows.with_format("arrow")[:]
    column = whole["labels"].combine_chunks()
    ids = column.flatten().to_numpy()
    of_windows = of_sentences[whole["sentence"].to_numpy()]
    repeated = np.repeat(of_windows, column.value_lengths().to_numpy(zero_copy_only=False))
    marked = np.where(ids == IGNORED, ids, ids + num_labels * repeated).astype(np.int32)
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    labels = pa.ListArray.from_arrays(pa.array(offsets), pa.array(marked))
    return Dataset(InMemoryTable(whole.set_column(whole.column_names.index("labels"), "labels", labels))), table
