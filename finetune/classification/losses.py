"""Losses of whole texts, from logits and labels to one loss per decision: one label, several labels, or a value.

A decision is what the global number of items counts (see `training/losses.py`): a text where it has one label or one
value, each of its labels where it has several. So the mean that is trained is torch's own, however a batch is cut up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from finetune.encoding.padding import IGNORED
from finetune.training.losses import TokenLoss, diverge

PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")
SINGLE = PROBLEM_TYPES[0]


class SequenceLoss(TokenLoss):
    """The loss of one problem type, summed and divided by the global number of decisions.

    Args:
        problem_type: as in a model's configuration, one of `PROBLEM_TYPES`.
        class_weights: one factor per label: of the texts with that label, or of its positive decisions.
        label_smoothing: share of the target spread evenly (Szegedy et al. 2016): over all labels, or over yes and no.
        focal_gamma: weight each decision by (1 - its probability)^gamma (Lin et al. 2017); 0 is plain cross-entropy.
    """

    def __init__(
        self,
        problem_type: str,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
    ) -> None:
        super().__init__(class_weights, label_smoothing)
        if problem_type not in PROBLEM_TYPES:
            raise ValueError(f"problem_type is {problem_type!r}; allowed: {', '.join(PROBLEM_TYPES)}")
        self.problem_type, self.focal_gamma = problem_type, focal_gamma

    def count_items(
        self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None
    ) -> torch.Tensor:
        """As of any labels; where a text comes with more numbers than it has decisions, decisions are counted."""
        decisions = self.decisions_of_targets(labels, logits.shape[-1])
        if not decisions:
            return super().count_items(logits, labels, num_items_in_batch)
        given = labels.numel() if num_items_in_batch is None else num_items_in_batch
        return super().count_items(logits, labels, given * decisions / labels.shape[1])  # type: ignore[arg-type]

    def divergences(self, one: torch.Tensor, other: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """As of `TokenLoss`, (batch,); of several labels each is a yes and a no, (batch, labels). Times the weights."""
        is_target = bool(self.decisions_of_targets(labels, one.shape[-1]))
        if self.problem_type == SINGLE:
            return diverge(one, other) * (labels.sum(-1) if is_target else labels != IGNORED)
        pairs = (torch.stack([torch.zeros_like(logits), logits], -1) for logits in (one, other))
        return diverge(*pairs) * (labels[:, -1:] if is_target else labels != IGNORED)

    def decisions_of_targets(self, labels: torch.Tensor, outputs: int) -> int:
        """How many decisions a text has where it comes with a weight (`row_targets.py`); 0 where labels are plain."""
        if labels.ndim != 2:
            return 0
        if self.problem_type == "multi_label_classification":
            return outputs if labels.shape[1] == outputs + 1 else 0
        return 1

    def per_position(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Float32 loss of each decision: (batch,) or (batch, labels)."""
        weights = None if self.weights is None else self.weights.to(logits.device)
        is_target, is_single = bool(self.decisions_of_targets(labels, logits.shape[-1])), self.problem_type == SINGLE
        factors: torch.Tensor | float = 1.0
        if is_target and not is_single:
            factors, labels = labels[:, -1:], labels[:, :-1]
        if self.problem_type == "regression":
            return squared_errors(logits, labels) * factors
        of_single = target_losses if is_target else single_label_losses
        losses = (of_single if is_single else multi_label_losses)(
            logits, labels, weights=weights, label_smoothing=self.label_smoothing, focal_gamma=self.focal_gamma
        )
        return losses * factors if is_target and not is_single else losses


class SequenceEvaluationLoss:
    """The Trainer's `preprocess_logits_for_metrics`: logits (batch, labels) and the loss of each row (batch, 1)."""

    def __init__(self, loss: SequenceLoss) -> None:
        self.loss = loss

    def __call__(
        self, logits: torch.Tensor | tuple[torch.Tensor, ...], labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        first = logits[0] if isinstance(logits, tuple) else logits  # some models return hidden states beside them
        losses = self.loss.per_position(first, labels)
        return first.float(), losses.reshape(len(first), -1).sum(-1, keepdim=True)


def single_label_losses(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> torch.Tensor:
    """Cross-entropy (batch,) of logits (batch, labels) and label ids (batch,); zero where the label is -100."""
    losses = functional.cross_entropy(
        logits.float(), labels, weight=weights, ignore_index=IGNORED, reduction="none", label_smoothing=label_smoothing
    )
    if not focal_gamma:
        return losses
    known = labels.clamp(min=0)
    certainty = logits.float().softmax(-1).gather(-1, known[:, None])[:, 0]
    return losses * (1.0 - certainty) ** focal_gamma


def target_losses(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> torch.Tensor:
    """Cross-entropy (batch, labels) between targets of that shape, whose sums are the weights of texts, and logits.

    Summed over labels it is `single_label_losses` times the weight, where a target is of one label.
    """
    logs = logits.float().log_softmax(-1)
    mass = targets.sum(-1, keepdim=True)
    smoothed = targets * (1.0 - label_smoothing) + mass * (label_smoothing / targets.shape[1])
    losses = -logs * smoothed * (1.0 if weights is None else weights)
    if not focal_gamma:
        return losses
    certainty = (targets / mass.clamp(min=torch.finfo(mass.dtype).tiny) * logs.exp()).sum(-1, keepdim=True)
    return losses * (1.0 - certainty) ** focal_gamma


def multi_label_losses(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> torch.Tensor:
    """Binary cross-entropy (batch, labels) of logits and 0/1 labels of that shape; zero where a label is -100.

    `weights` multiply the positive side only, so that a rare label's few examples count as much as the others.
    """
    known = labels != IGNORED
    truth = labels.float().clamp(min=0.0)
    targets = truth * (1.0 - label_smoothing) + 0.5 * label_smoothing
    losses = functional.binary_cross_entropy_with_logits(logits.float(), targets, pos_weight=weights, reduction="none")
    if focal_gamma:
        probability = logits.float().sigmoid()
        missed = torch.where(truth > 0.5, 1.0 - probability, probability)
        losses = losses * missed**focal_gamma
    return losses * known


def squared_errors(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Squared errors of values (batch, 1) against references (batch,) or (batch, 1); zero where the reference is -100."""
    return (logits.float().reshape(labels.shape) - labels.float()) ** 2 * (labels != IGNORED)


def balance_positive_weights(decisions: np.ndarray) -> list[float]:
    """Weights of positive decisions, negatives / positives of each label; 1 for a label that never occurs.

    `decisions` is 0/1, (examples, labels). This is what torch's documentation of `pos_weight` recommends.
    """
    positive = decisions.astype(bool).sum(axis=0)
    weights = (len(decisions) - positive) / np.maximum(positive, 1)
    return np.where(positive == 0, 1.0, weights).tolist()
