"""DeBERTa on packed tokens: everything but the attention sees real tokens only, and the attention less of the padding.

DeBERTa hands nothing but masks from its base model to its layers, so the layout of a call travels on the mask to the
encoder, and from there in the place of the relative positions. These are counted here: a sentence's positions are those of
its own tokens, and only as many rows of the table are projected as the longest sentence has distances. A score is content
to content, content to position and position to content (He et al., 2021, https://arxiv.org/abs/2006.03654, equation 4).
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from finetune.models.unpadding.blocks import AttentionBlocks, build_blocks
from finetune.models.unpadding.layout import TokenLayout

_ON_MASK = "token_layout_of_finetune"
Handles = list[RemovableHandle]


class SelfAttention(Protocol):
    """What both versions of DeBERTa's attention have; version 1 has `in_proj`, which version 2 has as three layers."""

    num_attention_heads: int
    pos_att_type: list[str]
    relative_attention: bool
    in_proj: nn.Linear
    q_bias: Tensor
    v_bias: Tensor
    query_proj: nn.Linear
    key_proj: nn.Linear
    value_proj: nn.Linear
    pos_dropout: nn.Module
    dropout: nn.Module


def why_not_disentangled(base: PreTrainedModel) -> str | None:
    """What of a DeBERTa's configuration its packed attention does not compute; None where it computes all."""
    if (getattr(base.config, "conv_kernel_size", 0) or 0) > 0:
        return f"{type(base).__name__} reads its neighbours by a convolution (conv_kernel_size)"
    if getattr(base.config, "talking_head", False):
        return f"{type(base).__name__} mixes its attention heads (talking_head)"
    return None


def carry_on_mask(mask: Tensor, layout: TokenLayout) -> Tensor:
    """The mask of a call with its layout on it."""
    carrier = mask.view_as(mask)
    setattr(carrier, _ON_MASK, layout)
    return carrier


def open_disentangled(encoder: nn.Module) -> Handles:
    """Let the encoder of a DeBERTa compute packed tokens wherever its mask carries a layout, in place."""
    for layer in cast(Any, encoder).layer:
        own = layer.attention.self
        own.__dict__["forward"] = partial(_forward, own)
    return [
        encoder.register_forward_pre_hook(_enter, with_kwargs=True),
        encoder.register_forward_hook(_leave, with_kwargs=True),
    ]


def close_disentangled(encoder: nn.Module) -> None:
    """Undo `open_disentangled`, but for its hooks."""
    for layer in cast(Any, encoder).layer:
        layer.attention.self.__dict__.pop("forward", None)


def _enter(_encoder: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    hidden, mask = args
    layout: TokenLayout | None = getattr(mask, _ON_MASK, None)
    if layout is None:
        return args, kwargs
    return (layout.pack(hidden), mask.new_ones(1, 1, 1, 1)), kwargs | {"relative_pos": layout}


def _leave(_encoder: nn.Module, _args: tuple, kwargs: dict[str, Any], output: BaseModelOutput) -> BaseModelOutput:
    """The base model takes the last of the recorded states for its result."""
    layout = kwargs.get("relative_pos")
    if isinstance(layout, TokenLayout):
        states = cast(tuple[Tensor, ...], output.hidden_states)
        last = layout.pad_last(states[-1])
        output.last_hidden_state, output.hidden_states = cast(Any, last), cast(Any, (*states[:-1], last))
    return output


def _forward(attention: SelfAttention, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    layout = kwargs.get("relative_pos")
    if not isinstance(layout, TokenLayout):
        return cast(Any, type(attention)).forward(attention, *args, **kwargs)
    return _attend(attention, args[0], layout, kwargs["rel_embeddings"]), None


def _attend(attention: SelfAttention, hidden: Tensor, layout: TokenLayout, table: Tensor | None) -> Tensor:
    """(1, rows, hidden) -> (1, rows, hidden), each token attending to those of its sentence."""
    heads = attention.num_attention_heads
    blocks = _blocks_of(layout, heads)
    query, key, value = (_Pad.apply(rows, blocks) for rows in _project(attention, hidden.squeeze(0)))
    kinds = attention.pos_att_type if attention.relative_attention and table is not None else ()
    longest = max(block.length for block in blocks.blocks)
    found = _distances(attention, layout, longest, hidden.device)
    to_keys, to_queries = _project_positions(attention, kinds, table, found[0])
    scale = ((1 + len(attention.pos_att_type)) * query.shape[-1]) ** 0.5
    attended = []
    for block in blocks.blocks:
        q, k, v = (block.part_of(places) for places in (query, key, value))  # (sentences * heads, length, size)
        scores = torch.bmm(q, k.transpose(1, 2) / scale)
        index = _index_of(block.length, longest, found[1])
        if to_keys is not None:
            scores = scores + _of_positions(q, to_keys, index) / scale
        if to_queries is not None:
            scores = scores + _of_positions(k, to_queries, index.transpose(0, 1)).transpose(1, 2) / scale
        scores = scores + block.bias(None, scores.dtype)
        weights = attention.dropout(torch.softmax(scores, dim=-1))
        attended.append(torch.bmm(weights, v).reshape(-1, v.shape[-1]))
    rows = _Pack.apply(torch.cat(attended), blocks)  # (rows, heads, size)
    return rows.reshape(1, len(rows), -1)


def _blocks_of(layout: TokenLayout, heads: int) -> AttentionBlocks:
    if heads not in layout.derived:
        layout.derived[heads] = build_blocks(layout, heads)
    return layout.derived[heads]


def _project(attention: SelfAttention, hidden: Tensor) -> list[Tensor]:
    """Queries, keys and values (rows, heads, size); version 1 has them interleaved by head in one projection."""
    heads = attention.num_attention_heads
    if not hasattr(attention, "in_proj"):
        layers = (attention.query_proj, attention.key_proj, attention.value_proj)
        return [layer(hidden).unflatten(-1, (heads, -1)) for layer in layers]
    query, key, value = attention.in_proj(hidden).unflatten(-1, (heads, -1)).chunk(3, dim=-1)
    biases = [bias.view(heads, -1) for bias in (attention.q_bias, attention.v_bias)]
    return [query + biases[0], key.contiguous(), value + biases[1]]


def _distances(
    attention: SelfAttention, layout: TokenLayout, longest: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Rows of the position table for distances 1 - longest to longest - 1, each once, and the place of each distance."""
    buckets = int(getattr(attention, "position_buckets", -1))
    reach = int(getattr(attention, "max_relative_positions", longest))
    name = ("distances", longest, buckets, reach)
    if name not in layout.derived:
        distances = torch.arange(1 - longest, longest, device=device)
        span = reach
        if buckets > 0:
            from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

            distances, span = make_log_bucket_position(distances, buckets, reach).long(), buckets
        rows = (distances + span).clamp(0, 2 * span - 1)
        layout.derived[name] = torch.unique(rows, return_inverse=True)
    return layout.derived[name]


def _index_of(length: int, longest: int, places: Tensor) -> Tensor:
    """(length, length) places among the projected rows of the distance from query (first) to key (second)."""
    at = torch.arange(length, device=places.device)
    return places[at[:, None] - at[None, :] + longest - 1]


def _project_positions(
    attention: SelfAttention, kinds: Collection[str], table: Tensor | None, rows: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Projected positions (heads, distances, size) that queries look for, and that keys look for; None without."""
    if table is None or not kinds:
        return None, None
    chosen = attention.pos_dropout(table.index_select(0, rows))
    shared = getattr(attention, "share_att_key", False)
    v1 = hasattr(attention, "in_proj")
    of_keys = attention.key_proj if shared else getattr(attention, "pos_proj" if v1 else "pos_key_proj", None)
    of_queries = attention.query_proj if shared else getattr(attention, "pos_q_proj" if v1 else "pos_query_proj", None)

    def project(kind: str, layer: nn.Module | None) -> Tensor | None:
        if kind not in kinds or layer is None:
            return None
        return layer(chosen).unflatten(-1, (attention.num_attention_heads, -1)).transpose(0, 1)

    return project("c2p", of_keys), project("p2c", of_queries)


def _of_positions(content: Tensor, positions: Tensor, index: Tensor) -> Tensor:
    """Content (sentences * heads, length, size) times positions (heads, distances, size), at `index` (length, length)."""
    heads = len(positions)
    products = torch.matmul(content.unflatten(0, (-1, heads)), positions.transpose(1, 2)).flatten(0, 1)
    return products.gather(-1, index.expand(len(products), -1, -1))


class _Context(Protocol):
    """What a gather keeps for its way back."""

    blocks: AttentionBlocks


class _Pad(torch.autograd.Function):
    """(rows, heads, size) -> (places of all blocks, size). Gathers in both directions."""

    @staticmethod
    def forward(ctx: _Context, rows: Tensor, blocks: AttentionBlocks) -> Tensor:
        ctx.blocks = blocks
        flat = rows.reshape(-1, rows.shape[-1])
        return flat.index_select(0, torch.cat([block.gather for block in blocks.blocks]))

    @staticmethod
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.blocks.pack_with_zeros(gradient), None


class _Pack(torch.autograd.Function):
    """(places of all blocks, size) -> (rows, heads, size)."""

    @staticmethod
    def forward(ctx: _Context, places: Tensor, blocks: AttentionBlocks) -> Tensor:
        ctx.blocks = blocks
        return blocks.pack_with_zeros(places)

    @staticmethod
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor, None]:
        parts = [block.pad_with_zeros(gradient).reshape(-1, gradient.shape[-1]) for block in ctx.blocks.blocks]
        return torch.cat(parts), None
