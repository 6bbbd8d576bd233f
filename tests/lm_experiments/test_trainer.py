"""Several losses made one, losses of rows, patience."""

from __future__ import annotations

import builtins

import pytest
import torch
from transformers import TrainerState

from finetune.errors import UsageError
from finetune.lm_experiments.losses import SplitLoss, reduce_losses, row_losses
from finetune.lm_experiments.trainer import Patience


def own_reduction(first, second):
    return first - second


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        *[(torch.sum, 5), (torch.mean, 2.5), (torch.max, 3), (torch.min, 2), (torch.prod, 6), (torch.median, 2)],
        *[(builtins.max, 3), (builtins.min, 2), (builtins.sum, 5), (own_reduction, 1)],
    ],
)
def test_reductions(function, expected):
    assert reduce_losses(function, [torch.tensor(3.0), torch.tensor(2.0)]).item() == expected


def test_a_reduction_that_reduces_nothing():
    with pytest.raises(UsageError, match="makes no single tensor of 2 losses"):
        reduce_losses(torch.exp, [torch.tensor(3.0), torch.tensor(2.0)])


def test_several_losses_and_the_number_of_the_call():
    class Drawing:
        calls = 0

        def __call__(self, outputs, labels):
            return torch.tensor([self.calls, self.calls + 2.0])  # one for each example

    split = SplitLoss({"Drawing": Drawing(), "Own": lambda outputs, labels: outputs["loss"]}, torch.sum)
    total, parts = split.compute({"loss": torch.tensor(0.5)}, torch.zeros(1), call=7)
    assert total.item() == 8.5 and {name: part.item() for name, part in parts.items()} == {"Drawing": 8, "Own": 0.5}
    assert split.take_non_finite() is None
    split.compute({"loss": torch.tensor(float("inf"))}, torch.zeros(1), call=0)
    assert split.take_non_finite() == float("inf")


@pytest.mark.parametrize("task", ["lm", "mlm"])
def test_losses_of_rows_are_means_over_their_labels(task):
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 7), torch.tensor([[1, 2, -100, 3], [-100, -100, 4, -100]])
    each, counts = row_losses(logits, labels, task)
    log = torch.log_softmax(logits, -1)
    back = 1 if task == "lm" else 0
    places = [[place for place in range(back, 4) if labels[row, place] >= 0] for row in range(2)]
    expected = [
        -sum(log[row, p - back, labels[row, p]] for p in found) / len(found) for row, found in enumerate(places)
    ]
    assert each.tolist() == pytest.approx([value.item() for value in expected], abs=1e-5)
    assert counts.tolist() == [len(found) for found in places]


@pytest.mark.parametrize(
    ("losses", "delta", "min_epochs", "exhausted"),
    [
        ([5, 4, 3], 0, 0, False),
        ([5, 6, 6], 0, 0, True),
        ([5, 6, 4], 0, 0, False),
        ([5, 4.8, 4.6, 4.4], 0.5, 0, False),  # 5 to 4.4 together is an improvement
        ([5, 4.8, 4.6], 0.5, 0, True),
        ([5, 6, 7], 0, 4, False),
        ([5, 6, 7, 8], 0, 4, True),
    ],
)
def test_patience(losses, delta, min_epochs, exhausted):
    state = TrainerState(log_history=[{"loss": 1.0}, *({"eval_loss": loss} for loss in losses)])
    assert Patience(2, delta, min_epochs).is_exhausted(state) is exhausted
