"""The loss is a sum over items divided by their global number, checked against torch by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from finetune.training.losses import EvaluationLoss, TokenLoss, balance_class_weights, mean_loss


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 7, 4, generator=generator)
    labels = torch.randint(0, 4, (5, 7), generator=generator)
    labels[0, 3:] = -100
    labels[4] = -100
    return logits, labels


def test_without_a_count_it_is_the_mean_over_labelled_positions(batch):
    logits, labels = batch
    expected = functional.cross_entropy(logits.view(-1, 4), labels.view(-1))
    assert torch.allclose(TokenLoss()({"logits": logits}, labels), expected)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_micro_batches_add_up_to_the_whole(batch, size):
    logits, labels = batch
    items = (labels != -100).sum()
    whole = TokenLoss()({"logits": logits}, labels, items)
    parts = [
        TokenLoss()({"logits": part}, target, items)
        for part, target in zip(logits.split(size), labels.split(size), strict=True)
    ]
    assert torch.allclose(sum(parts), whole)


def test_class_weights_scale_each_position(batch):
    logits, labels = batch
    weights = [0.5, 1.0, 2.0, 3.0]
    losses = TokenLoss(weights).per_position(logits, labels)
    plain = TokenLoss().per_position(logits, labels)
    factors = torch.tensor(weights)[labels.clamp(min=0)] * (labels != -100)
    assert torch.allclose(losses, plain * factors)


def test_a_batch_without_labels_costs_nothing():
    loss = TokenLoss()({"logits": torch.randn(2, 3, 4)}, torch.full((2, 3), -100))
    assert loss.item() == 0


def test_a_non_finite_loss_is_remembered_until_it_is_taken(batch):
    logits, labels = batch
    criterion = TokenLoss()
    criterion({"logits": logits * float("nan")}, labels)
    criterion({"logits": logits}, labels)
    assert np.isnan(criterion.take_non_finite())
    assert criterion.take_non_finite() is None
    criterion({"logits": logits}, labels)
    assert criterion.take_non_finite() is None


def test_evaluation_sums_do_not_depend_on_the_batches(batch):
    logits, labels = batch
    predicted, sums = EvaluationLoss(TokenLoss())(logits, labels)
    assert torch.equal(predicted, logits.argmax(-1))
    expected = functional.cross_entropy(logits.view(-1, 4), labels.view(-1)).item()
    assert mean_loss(sums.numpy(), labels.numpy()) == pytest.approx(expected, rel=1e-6)


def test_balanced_weights_equal_scikit_learn():
    labels = np.array([0, 0, 0, 1, 2, 2, -100, -100])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels[labels >= 0])
    assert balance_class_weights(labels, 4)[:3] == pytest.approx(expected)
    assert balance_class_weights(labels, 4)[3] == 1.0
