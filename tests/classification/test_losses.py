from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from finetune.classification.losses import (
    SequenceEvaluationLoss,
    SequenceLoss,
    balance_positive_weights,
    multi_label_losses,
    single_label_losses,
)

GENERATOR = torch.Generator().manual_seed(4)
LOGITS = torch.randn(12, 5, generator=GENERATOR)
LABELS = torch.randint(0, 5, (12,), generator=GENERATOR)
DECISIONS = (torch.rand(12, 5, generator=GENERATOR) < 0.3).float()
VALUES = torch.rand(12, generator=GENERATOR) * 5

CASES = [
    ("single_label_classification", LOGITS, LABELS, functional.cross_entropy),
    ("multi_label_classification", LOGITS, DECISIONS, functional.binary_cross_entropy_with_logits),
    ("regression", LOGITS[:, :1], VALUES, lambda logits, values: functional.mse_loss(logits[:, 0], values)),
]


@pytest.mark.parametrize(("problem_type", "logits", "labels", "reference"), CASES)
def test_whole_batch_equals_torch(problem_type, logits, labels, reference) -> None:
    assert SequenceLoss(problem_type)({"logits": logits}, labels).item() == pytest.approx(
        reference(logits, labels).item(), rel=1e-6
    )


@pytest.mark.parametrize(("problem_type", "logits", "labels", "reference"), CASES)
def test_loss_and_gradient_do_not_depend_on_how_the_batch_is_cut(problem_type, logits, labels, reference) -> None:
    loss = SequenceLoss(problem_type)
    results = []
    for cut in (12, 4, 5):  # whole, even, ragged
        leaf = logits.clone().requires_grad_()
        items = (labels != -100).sum()
        total = sum(
            loss({"logits": part}, part_labels, items)
            for part, part_labels in zip(leaf.split(cut), labels.split(cut), strict=True)
        )
        total.backward()
        results.append((total.item(), leaf.grad))
    for value, gradient in results[1:]:
        assert value == pytest.approx(results[0][0], rel=1e-6)
        torch.testing.assert_close(gradient, results[0][1])


def test_smoothing_and_weights_equal_torch() -> None:
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0])
    ours = single_label_losses(LOGITS, LABELS, weights=weights, label_smoothing=0.1)
    theirs = functional.cross_entropy(LOGITS, LABELS, weight=weights, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(ours, theirs)
    targets = DECISIONS * 0.9 + 0.05
    torch.testing.assert_close(
        multi_label_losses(LOGITS, DECISIONS, weights=weights, label_smoothing=0.1),
        functional.binary_cross_entropy_with_logits(LOGITS, targets, pos_weight=weights, reduction="none"),
    )


def test_focal_loss_by_its_formula() -> None:
    probability = LOGITS.softmax(-1)[torch.arange(12), LABELS]
    torch.testing.assert_close(
        single_label_losses(LOGITS, LABELS, focal_gamma=2.0), -((1 - probability) ** 2) * probability.log()
    )
    p = LOGITS.sigmoid()
    certainty = torch.where(DECISIONS > 0, p, 1 - p)
    torch.testing.assert_close(
        multi_label_losses(LOGITS, DECISIONS, focal_gamma=1.5), -((1 - certainty) ** 1.5) * certainty.log()
    )


def test_ignored_labels_cost_nothing() -> None:
    labels = LABELS.clone()
    labels[3] = -100
    assert single_label_losses(LOGITS, labels, focal_gamma=2.0)[3] == 0
    rest = [row for row in range(12) if row != 3]
    mean = SequenceLoss("single_label_classification")({"logits": LOGITS}, labels)
    assert mean.item() == pytest.approx(functional.cross_entropy(LOGITS[rest], labels[rest]).item())
    decisions = DECISIONS.clone()
    decisions[0, 0] = -100
    assert multi_label_losses(LOGITS, decisions)[0, 0] == 0


def test_evaluation_keeps_logits_and_row_sums() -> None:
    logits, sums = SequenceEvaluationLoss(SequenceLoss("multi_label_classification"))(LOGITS.half(), DECISIONS)
    assert logits.dtype is torch.float32
    assert sums.shape == (12, 1)
    reference = functional.binary_cross_entropy_with_logits(LOGITS.half().float(), DECISIONS, reduction="none")
    torch.testing.assert_close(sums[:, 0], reference.sum(-1))


def test_positive_weights() -> None:
    decisions = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 1, 0]])
    assert balance_positive_weights(decisions) == [3.0, 1.0, 1.0]


def test_unknown_problem_type_is_named() -> None:
    with pytest.raises(ValueError, match="'ranking'"):
        SequenceLoss("ranking")
