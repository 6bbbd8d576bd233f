"""Gradient clipping without a pass of its own over the gradients: the fused optimizer divides by the clipping factor.

Clipping by global norm: Pascanu et al., 2013, https://arxiv.org/abs/1211.5063.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor

from finetune.training.native_adamw import NativeAdamW, total_norm

logger = logging.getLogger(__name__)

PLAIN = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
_EPSILON = 1e-6  # torch.nn.utils.clip_grad_norm_ adds it to the norm


def can_fold(optimizer: Any, accelerator: Accelerator) -> bool:
    """Whether this optimizer clips by itself: fused AdamW, without a scaler of losses, weights not sharded."""
    fused = type(optimizer) in (torch.optim.AdamW, NativeAdamW) and bool(optimizer.defaults.get("fused"))
    return fused and accelerator.scaler is None and accelerator.distributed_type in PLAIN


def fold_into(optimizer: Any, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Let the next step of the optimizer clip; returns the norm before clipping, as the Trainer logs it."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = total_norm(optimizer, gradients)
    # The fused step divides every gradient by `grad_scale` as it reads it.
    optimizer.grad_scale = ((norm + _EPSILON) / max_norm).clamp(min=1.0)
    optimizer.found_inf = None
    return norm
