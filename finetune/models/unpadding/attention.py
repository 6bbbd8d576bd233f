"""Attention over packed tokens, registered with transformers under one name.

Every function here is pure: the layout comes with the call. Without a layout (the call could not be unpadded) the same
name behaves as transformers' "sdpa", or computes the weights in full when they are asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from finetune.models.unpadding import padded_attention, varlen_attention
from finetune.models.unpadding.layout import TokenLayout

ATTENTION_NAME = "finetune_unpadded"


def register_attention() -> None:
    """Make `ATTENTION_NAME` known to transformers; safe to call again."""
    AttentionInterface.register(ATTENTION_NAME, unpadded_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)


def unpadded_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    token_layout: TokenLayout | None = None,
    **kwargs: object,
) -> tuple[Tensor, Tensor | None]:
    """Attend within each sentence of `token_layout`.

    query, key, value: (1, heads, rows, head size). Returns (1, rows, heads, head size), and no weights.
    `sliding_window` is transformers' exclusive bound: a token sees those less than `sliding_window` positions away.
    """
    if token_layout is None:
        return _plain_attention(module, query, key, value, attention_mask, dropout, scaling, kwargs)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    window = None if sliding_window is None else sliding_window - 1
    attend = varlen_attention.attend if varlen_attention.serves(query) else padded_attention.attend
    query, key, value = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))  # (rows, heads, size)
    attended = attend(query, key, value, token_layout, scale=scale, dropout=dropout, window=window)
    return attended.unsqueeze(0), None


def _plain_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float,
    scaling: float | None,
    kwargs: dict[str, Any],
) -> tuple[Tensor, Tensor | None]:
    if not kwargs.get("output_attentions"):
        kwargs["is_causal"] = kwargs.get("is_causal") or False
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = query @ key.transpose(2, 3) * scale  # (batch, heads, length, length)
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, dropout, module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights
