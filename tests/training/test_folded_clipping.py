from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from finetune.training.trainer import FinetuneTrainer


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x, labels):
        return {"loss": ((self.layers(x)[:, 0] - labels) ** 2).mean()}


def train(folder, model, *, fold: bool, max_grad_norm: float, optim: str = "adamw_torch_fused") -> Trainer:
    generator = torch.Generator().manual_seed(0)
    data = [{"x": torch.randn(3, generator=generator) * 5, "labels": float(number)} for number in range(40)]
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=8, use_cpu=True, save_strategy="no", report_to="none", disable_tqdm=True,
        learning_rate=1e-2, max_grad_norm=max_grad_norm, logging_steps=1, weight_decay=0.1, optim=optim,
        remove_unused_columns=False, per_device_train_batch_size=5,
    )  # fmt: skip
    trainer = FinetuneTrainer(model=model, args=arguments, train_dataset=data)
    trainer.clips_in_optimizer = fold
    trainer.train()
    return trainer


@pytest.mark.slow
@pytest.mark.parametrize("max_grad_norm", [0.5, 1e9, 0.0])
@pytest.mark.parametrize("optim", ["adamw_torch_fused", "adamw_torch", "sgd"])
def test_weights_and_logged_norms_are_those_of_separate_clipping(tmp_path, optim, max_grad_norm):
    torch.manual_seed(0)
    plain = Regression()
    folded = copy.deepcopy(plain)
    options = {"max_grad_norm": max_grad_norm, "optim": optim}
    trainers = [train(tmp_path / str(f), m, fold=f, **options) for f, m in ((False, plain), (True, folded))]
    for expected, found in zip(plain.parameters(), folded.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    norms = [[line["grad_norm"] for line in t.state.log_history if "grad_norm" in line] for t in trainers]
    assert len(norms[0]) == 8 and norms[1] == pytest.approx(norms[0], rel=1e-5)
    assert max(norms[0]) > 0.5
