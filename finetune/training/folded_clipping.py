"""Gradient clipping without a pass of its own over the gradients: the fused optimizer divides by the clipping factor.

Clipping by global norm: Pascanu et al., 2013, https://arxiv.org/abs/1211.5063.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import Tensor
from transformers import Trainer

logger = logging.getLogger(__name__)

PLAIN = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
_EPSILON = 1e-6  # torch.nn.utils.clip_grad_norm_ adds it to the norm


def fold_clipping(trainer: Trainer) -> None:
    """Let `trainer` clip inside its fused AdamW where it has one; otherwise (and under a scaler) it clips as before.

    Call once, after the Trainer is built. The norm that the Trainer logs is the same, measured before clipping.
    """
    accelerator = trainer.accelerator
    accelerator.clip_grad_norm_ = _FoldedClipping(trainer, accelerator.clip_grad_norm_)


class _FoldedClipping:
    def __init__(self, trainer: Trainer, plain: Callable[..., Any]) -> None:
        self.trainer, self.plain = trainer, plain

    def __call__(self, parameters: Iterable[Tensor], max_norm: float, norm_type: float = 2.0) -> Tensor | None:
        optimizer: Any = getattr(self.trainer.optimizer, "optimizer", self.trainer.optimizer)
        if not self._can_fold(optimizer):
            return self.plain(parameters, max_norm, norm_type=norm_type)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients, norm_type)
        # The fused step divides every gradient by `grad_scale` as it reads it.
        optimizer.grad_scale = ((norm + _EPSILON) / max_norm).clamp(min=1.0)
        optimizer.found_inf = None
        return norm

    def _can_fold(self, optimizer: Any) -> bool:
        accelerator = self.trainer.accelerator
        fused = type(optimizer) is torch.optim.AdamW and bool(optimizer.defaults.get("fused"))
        return fused and accelerator.scaler is None and accelerator.distributed_type in PLAIN
