"""Distillation the plain way: padded batches, every logit of student and teacher, float32, one loop.

Written from the paper (Sanh et al. 2019) and from what the documents say of the DistilBERT scripts, as an independent oracle
for `finetune.distillation.model` and as what the benchmark is measured beside. Nothing here is used by the package.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

IGNORED = -100


@dataclass(frozen=True)
class PlainLosses:
    """Weights and settings of the documented recipe."""

    ce: float = 5.0
    mlm: float = 2.0
    cos: float = 1.0
    temperature: float = 2.0
    restrict_ce_to_mask: bool = False


def compute_losses(student: Any, teacher: Any, batch: dict[str, Tensor], recipe: PlainLosses) -> dict[str, Tensor]:
    """Means of the three losses for `input_ids`, `attention_mask` and `labels` (batch, length)."""
    ids, mask, labels = batch["input_ids"], batch["attention_mask"], batch["labels"]
    own = student(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    with torch.no_grad():
        target = teacher(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    compared = (labels != IGNORED if recipe.restrict_ce_to_mask else mask.bool())[..., None]
    vocabulary, width = own.logits.shape[-1], own.hidden_states[-1].shape[-1]
    own_logits = own.logits.masked_select(compared).view(-1, vocabulary)
    target_logits = target.logits.masked_select(compared).view(-1, vocabulary)
    own_log = functional.log_softmax(own_logits / recipe.temperature, dim=-1)
    target_probabilities = functional.softmax(target_logits / recipe.temperature, dim=-1)
    real = mask.bool()[..., None]
    own_states = own.hidden_states[-1].masked_select(real).view(-1, width)
    target_states = target.hidden_states[-1].masked_select(real).view(-1, width)
    return {
        "ce": functional.kl_div(own_log, target_probabilities, reduction="batchmean") * recipe.temperature**2,
        "mlm": functional.cross_entropy(own.logits.view(-1, vocabulary), labels.view(-1), ignore_index=IGNORED),
        "cos": functional.cosine_embedding_loss(own_states, target_states, torch.ones(len(own_states))),
    }


def add_up(losses: dict[str, Tensor], recipe: PlainLosses) -> Tensor:
    return torch.stack([getattr(recipe, name) * value for name, value in losses.items()]).sum()


def train(
    student: Any,
    teacher: Any,
    steps: Iterable[Sequence[dict[str, Tensor]]],
    recipe: PlainLosses,
    learning_rate: float,
    *,
    bf16: bool = False,
) -> Iterable[int]:
    """One optimizer step for each list of batches, with `bf16` under autocast; yields the real tokens of each."""
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, eps=1e-6, betas=(0.9, 0.98), weight_decay=0.0)
    student.train()
    teacher.eval()
    for batches in steps:
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                losses = compute_losses(student, teacher, batch, recipe)
            (add_up(losses, recipe) / len(batches)).backward()
        torch.nn.utils.clip_grad_norm_(trained, 5.0)
        optimizer.step()
        optimizer.zero_grad()
        yield sum(int(batch["attention_mask"].sum()) for batch in batches)
