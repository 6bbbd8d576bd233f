"""Attention over packed tokens where no kernel knows sentence boundaries: padded around the attention itself.

Only queries, keys and values are padded, in one gather each that also brings the heads in front. At the lengths of
sentences a plain product-softmax-product beats `scaled_dot_product_attention` on a CPU (measured: half the time), not
least because the latter has no fused kernel with dropout there.
Vaswani et al., 2017, https://arxiv.org/abs/1706.03762.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from finetune.models.fast_dropout import draw_keep_mask, keep_elements
from finetune.models.unpadding.blocks import AttentionBlocks, build_blocks
from finetune.models.unpadding.layout import TokenLayout

_LONG = 256  # from this length on, torch's kernel that never stores the probabilities wins where it can be used


@torch.compiler.disable
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

    `window`: how many positions away a token still sees; None for all. `dropout`: probability, 0 in evaluation.
    """
    blocks = _blocks_of(layout, query.shape[1])
    if query.device.type != "cpu" or (dropout == 0.0 and layout.longest >= _LONG):
        masks = _masks_of(layout, blocks, window)
        return _attend_by_sdpa(query, key, value, blocks, masks, scale=scale, dropout=dropout)
    biases = _biases_of(layout, blocks, window, query.dtype)
    return _PaddedAttention.apply(query, key, value, blocks, biases, scale, dropout, layout.fast_dropout)


def _blocks_of(layout: TokenLayout, heads: int) -> AttentionBlocks:
    if heads not in layout.derived:
        layout.derived[heads] = build_blocks(layout, heads)
    return layout.derived[heads]


def _biases_of(
    layout: TokenLayout, blocks: AttentionBlocks, window: int | None, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    name = (blocks.heads, window, dtype)
    if name not in layout.derived:
        layout.derived[name] = tuple(block.bias(window, dtype) for block in blocks.blocks)
    return layout.derived[name]


def _masks_of(layout: TokenLayout, blocks: AttentionBlocks, window: int | None) -> tuple[Tensor | None, ...]:
    """What keys may be seen in each block; None for all, which torch's kernels compute faster than a mask that says so."""
    name = ("visible", blocks.heads, window)
    if name not in layout.derived:
        layout.derived[name] = tuple(
            None if block.sees_all(window) else block.visible(window) for block in blocks.blocks
        )
    return layout.derived[name]


def _attend_by_sdpa(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    blocks: AttentionBlocks,
    masks: Sequence[Tensor | None],
    *,
    scale: float,
    dropout: float,
) -> Tensor:
    attended = []
    for block, mask in zip(blocks.blocks, masks, strict=True):
        q, k, v = (block.pad(rows).unflatten(0, (-1, block.heads)) for rows in (query, key, value))
        part = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
        attended.append(part.reshape(-1, query.shape[-1]))
    return blocks.pack(torch.cat(attended))


class _PaddedAttention(torch.autograd.Function):
    """softmax(scale Q K' + bias) V between a gather and a scatter, keeping only what the backward pass needs."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        blocks: AttentionBlocks,
        biases: Sequence[Tensor],
        scale: float,
        dropout: float,
        fast_dropout: bool,
    ) -> Tensor:
        ctx.blocks, ctx.scale, ctx.dropout_scale = blocks, scale, 0.0 if dropout >= 1 else 1 / (1 - dropout)
        attended, kept = blocks.empty_places(value), []
        with torch.autocast(query.device.type, enabled=False):
            for block, bias in zip(blocks.blocks, biases, strict=True):
                q, k, v = block.pad(query), block.pad(key), block.pad(value)
                scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=scale)  # (sentences * heads, length, length)
                weights = torch.softmax(scores, dim=-1)
                mask = _keep_mask(weights, dropout, fast_dropout) if dropout > 0 else None
                torch.bmm(_drop(weights, mask), v, out=block.part_of(attended))
                kept += [q, k, v, weights, mask]
            ctx.save_for_backward(*kept)
            rows = blocks.pack(attended)
            return rows if dropout == 0 else rows.mul_(ctx.dropout_scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        blocks: AttentionBlocks = ctx.blocks
        query_gradient, key_gradient, value_gradient = (blocks.empty_places(gradient) for _ in range(3))
        with torch.autocast(gradient.device.type, enabled=False):
            if saved[4] is not None:
                gradient = gradient * ctx.dropout_scale
            for number, block in enumerate(blocks.blocks):
                q, k, v, weights, mask = saved[5 * number : 5 * number + 5]
                given = block.pad_with_zeros(gradient)
                torch.bmm(_drop(weights, mask).transpose(1, 2), given, out=block.part_of(value_gradient))
                weight_gradient = _drop(torch.bmm(given, v.transpose(1, 2)), mask)
                score_gradient = torch._softmax_backward_data(weight_gradient, weights, -1, weights.dtype)
                torch.bmm(score_gradient, k, out=block.part_of(query_gradient))
                torch.bmm(score_gradient.transpose(1, 2), q, out=block.part_of(key_gradient))
            query_rows = blocks.pack_with_zeros(query_gradient).mul_(ctx.scale)
            key_rows = blocks.pack_with_zeros(key_gradient).mul_(ctx.scale)
            value_rows = blocks.pack_with_zeros(value_gradient)
        return query_rows, key_rows, value_rows, None, None, None, None, None


def _keep_mask(weights: Tensor, dropout: float, fast: bool) -> Tensor:
    if fast:
        return draw_keep_mask(weights.shape, dropout)
    return torch.empty(weights.shape, dtype=torch.int8).bernoulli_(1 - dropout).neg_()


def _drop(weights: Tensor, mask: Tensor | None) -> Tensor:
    return weights if mask is None else keep_elements(weights, mask)
