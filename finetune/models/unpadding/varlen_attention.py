"""Attention over packed tokens on CUDA: flash kernels that read the sentence boundaries and never see padding.

`torch.nn.attention.varlen.varlen_attn` has no dropout; where attention probabilities are dropped, the operator beneath
it (the one that SDPA of jagged tensors calls too) is called directly.
Dao, FlashAttention-2, 2023, https://arxiv.org/abs/2307.08691.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from finetune.models.unpadding.layout import TokenLayout

_LARGEST_HEAD = 256


@cache
def _has_flash_kernels(device: torch.device) -> bool:
    """Whether the device runs torch's flash attention: NVIDIA Ampere and later, in a build that has the kernels."""
    built = torch.backends.cuda.is_flash_attention_available()
    return built and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


def serves(query: Tensor) -> bool:
    """Whether the flash kernels take `query`, (..., head size)."""
    head_size = query.shape[-1]
    fits = query.dtype in (torch.float16, torch.bfloat16) and head_size % 8 == 0 and head_size <= _LARGEST_HEAD
    return query.is_cuda and fits and _has_flash_kernels(query.device)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: TokenLayout,
    *,
    scale: float,
    dropout: float,
    window: int | None,
) -> Tensor:
    """(rows, heads, head size) -> the same, each token attending to those of its sentence.

    The filler rows are a sentence of their own, so that no row of the result stays unwritten memory.
    """
    reach = -1 if window is None else window
    query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    bounds, longest = layout.offsets, layout.longest
    if dropout == 0.0:
        attended = varlen_attn(
            query, key, value, bounds, bounds, longest, longest, scale=scale, window_size=(reach, reach)
        )
        assert isinstance(attended, Tensor)  # a tuple comes only where return_aux is given
        return attended
    return torch.ops.aten._flash_attention_forward(
        query,
        key,
        value,
        bounds,
        bounds,
        longest,
        longest,
        dropout,
        False,  # is_causal
        False,  # return_debug_mask
        scale=scale,
        window_size_left=None if window is None else reach,
        window_size_right=None if window is None else reach,
    )[0]
