"""Losses that mean what they say: a sum over labelled items divided by their number in the whole global batch.

transformers' encoder heads average within each micro-batch; the Trainer then neither divides by the accumulation steps
nor by the processes, so that loss, gradient and clipping depend on how a batch happens to be cut up. Here the Trainer's
own extension point `compute_loss_func` gets the number of labelled items of all micro-batches of all processes, and the
sum is divided by it: 8x1, 4x2, 2x4 and two processes agree, ragged last batches included. Evaluation sums the same way
(`EvaluationLoss`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from finetune.arguments.training_table import TrainingValues
from finetune.encoding.padding import IGNORED


def take_label_smoothing(values: TrainingValues) -> tuple[float, TrainingValues]:
    """The share to spread over all labels, and TrainingArguments without it: the task's own loss sees to it."""
    rest = values.copy()
    return float(rest.pop("label_smoothing_factor", 0.0) or 0.0), rest


class TokenLoss:
    """Cross-entropy over labelled positions, summed, divided by the global number of labelled items.

    Args:
        class_weights: one factor per label, or None. A weighted loss is still divided by the number of items (not by
            the sum of their weights), so that it does not depend on how the batch is cut up.
        label_smoothing: share of the target spread evenly over all labels (Szegedy et al. 2016, eq. 7).
    """

    def __init__(self, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        self.weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.label_smoothing = label_smoothing
        self.unseen: torch.Tensor | None = None  # a non-finite loss that nobody has looked at yet

    def __call__(
        self, outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """One micro-batch's share of the global mean. Logits (batch, length, labels), labels (batch, length)."""
        losses = self.per_position(outputs["logits"], labels)
        loss = losses.sum() / self.count_items(outputs["logits"], labels, num_items_in_batch)
        self.watch(loss)
        return loss

    def count_items(
        self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None
    ) -> torch.Tensor:
        """What a sum is divided by: the global number of items where it is given, else that of these labels."""
        items = (labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        return torch.as_tensor(items, device=logits.device).clamp(min=1)

    def divergences(self, one: torch.Tensor, other: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """How far two answers to the same batch are apart, in the shape of `per_position`, zero where no label is.

        The mean of both Kullback-Leibler divergences (Liang et al. 2021, https://arxiv.org/abs/2106.14448, equation 2).
        """
        return diverge(one, other) * (labels != IGNORED)

    def per_position(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Float32 losses (batch, length), zero where the label is -100."""
        weights = None if self.weights is None else self.weights.to(logits.device)
        flat = functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]).float(),
            labels.reshape(-1),
            weight=weights,
            ignore_index=IGNORED,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        return flat.view(labels.shape)

    def watch(self, loss: torch.Tensor) -> None:
        """Remember a loss that is not finite without waiting for the device."""
        value = loss.detach()
        self.unseen = value if self.unseen is None else torch.where(self.unseen.isfinite(), value, self.unseen)

    def take_non_finite(self) -> float | None:
        """The first non-finite loss since the last call, or None. Waits for the device."""
        value, self.unseen = self.unseen, None
        return None if value is None or bool(value.isfinite()) else value.item()


def diverge(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Mean of both Kullback-Leibler divergences of two softmaxes (..., labels), in float32: (...)."""
    first, second = one.float().log_softmax(-1), other.float().log_softmax(-1)
    return 0.5 * ((first.exp() - second.exp()) * (first - second)).sum(-1)


class EvaluationLoss:
    """The Trainer's `preprocess_logits_for_metrics`: keeps predicted labels and loss sums instead of all logits."""

    def __init__(self, loss: TokenLoss) -> None:
        self.loss = loss

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (batch, length, labels) -> predicted ids (batch, length), summed loss of each row (batch, 1)."""
        return logits.argmax(-1), self.loss.per_position(logits, labels).sum(-1, keepdim=True)


def mean_loss(loss_sums: np.ndarray, label_ids: np.ndarray) -> float:
    """Mean over all labelled items of a split, whatever its batches were."""
    return float(loss_sums.sum(dtype=np.float64) / max(int((label_ids != IGNORED).sum()), 1))


def balance_class_weights(label_ids: np.ndarray, num_labels: int) -> list[float]:
    """Weights n / (k * n_c) as scikit-learn's "balanced" (King & Zeng 2001); a label that never occurs weighs 1."""
    counts = np.bincount(label_ids[label_ids != IGNORED], minlength=num_labels)
    present = np.count_nonzero(counts)
    weights = counts.sum() / (present * np.maximum(counts, 1))
    return np.where(counts == 0, 1.0, weights).tolist()
