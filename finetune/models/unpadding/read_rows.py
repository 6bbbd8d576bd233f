"""The last layer, computed only at the tokens that somebody reads.

Every token is a key and a value of the last layer's attention, but what comes after that attention (output projection,
feed-forward network, norms, dropout) works on each token alone, and heads read few of them: the labelled tokens of a tagger
(first subwords of words), 15 % under a masked language model, one token a text under a classifier. For the others neither
values nor gradients (all zero) have to be computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from finetune.models.families import LastLayer


@dataclass(frozen=True, eq=False)
class ReadRows:
    """Which of the packed rows are read after the last layer. Made without waiting for an accelerator."""

    rows: Tensor  # (reads,) packed row of each read; repeats and padding may be among them, and do not count
    counts: Tensor  # (reads, 1) bool, whether the read counts
    read_of_row: Tensor  # (packed rows,) the read of each packed row; `reads` where it is not read
    positions: Tensor  # (reads,) position of each read in the flattened (batch * length)
    read_of_position: Tensor  # (batch * length,) the read of each position; `reads` where it is not read

    def select(self, packed: Tensor) -> Tensor:
        """(1, packed rows, hidden) -> (1, reads, hidden)."""
        return _Select.apply(packed.squeeze(0), self).unsqueeze(0)

    def pad(self, selected: Tensor, shape: torch.Size) -> Tensor:
        """(1, reads, hidden) -> (*shape, hidden), zero where nobody reads. `shape` is (batch, length)."""
        return _Pad.apply(selected.squeeze(0), self).view(*shape, -1)


def find_read_rows(positions: Tensor, real: Tensor, targets: Tensor, rows: int) -> ReadRows | None:
    """The rows at `positions` (any shape) of the flattened (batch * length); None where selecting them saves nothing.

    real, targets: as in `TokenLayout`; rows: number of packed rows.
    """
    positions = positions.reshape(-1).to(real.device)
    reads = len(positions)
    if reads >= rows:
        return None
    numbers = torch.arange(reads, device=real.device)
    first = targets.new_full(targets.shape, reads).scatter_reduce_(0, positions, numbers, "amin")
    present = real.reshape(-1)
    counts = (first.index_select(0, positions) == numbers) & present.index_select(0, positions)
    packed = targets.index_select(0, positions)
    read_of_row = targets.new_full((rows,), reads)
    read_of_row.scatter_reduce_(0, packed, numbers.masked_fill(~counts, reads), "amin")
    return ReadRows(packed, counts[:, None], read_of_row, positions, first.masked_fill(~present, reads))


class _Select(torch.autograd.Function):
    """Gathers in both directions: the gradient of rows that are not read is zero."""

    @staticmethod
    def forward(ctx: Any, packed: Tensor, read: ReadRows) -> Tensor:
        ctx.read = read
        return packed.index_select(0, read.rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _with_zero_row(gradient).index_select(0, ctx.read.read_of_row), None


class _Pad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, selected: Tensor, read: ReadRows) -> Tensor:
        ctx.read = read
        return _with_zero_row(selected).index_select(0, read.read_of_position)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, ctx.read.positions) * ctx.read.counts, None


def _with_zero_row(rows: Tensor) -> Tensor:
    return torch.cat((rows, rows.new_zeros(1, rows.shape[1])))


def read_last_layer(layer: nn.Module, shape: LastLayer) -> None:
    """Let `layer`, the last of an encoder, leave out what nobody reads, in place; calls without `ReadRows` are as before."""
    layer.__dict__["forward"] = partial(_forward, layer, _SELECTING[shape])


def compute_whole_layer(layer: nn.Module) -> None:
    """Undo `read_last_layer`."""
    layer.__dict__.pop("forward", None)


def _forward(layer: nn.Module, selecting: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Any:
    layout = kwargs.get("token_layout") or kwargs.get("relative_pos")  # DeBERTa's travels in that place
    if layout is None or getattr(layout, "read", None) is None:
        return type(layer).forward(layer, *args, **kwargs)
    return selecting(layer, layout.read, *args, **kwargs)


def _select_in_bert(
    layer: Any, read: ReadRows, hidden: Tensor, mask: Tensor | None, *_: Any, **kwargs: object
) -> Tensor:
    """The layer of BERT, RoBERTa, XLM-R, CamemBERT and ELECTRA."""
    context, _ = layer.attention.self(hidden, attention_mask=mask, **kwargs)
    attended = layer.attention.output(read.select(context), read.select(hidden))
    return layer.feed_forward_chunk(attended)


def _select_in_distilbert(layer: Any, read: ReadRows, hidden: Tensor, mask: Tensor | None, **kwargs: object) -> Tensor:
    attended, _ = layer.attention(hidden, attention_mask=mask, **kwargs)
    attended = layer.sa_layer_norm(read.select(attended + hidden))
    return layer.output_layer_norm(layer.ffn(attended) + attended)


def _select_in_modernbert(layer: Any, read: ReadRows, hidden: Tensor, **kwargs: object) -> Tensor:
    attended, _ = layer.attn(layer.attn_norm(hidden), **kwargs)
    hidden = read.select(hidden + attended)
    return hidden + layer.mlp(layer.mlp_norm(hidden))


def _select_in_deberta(layer: Any, read: ReadRows, hidden: Tensor, mask: Tensor, **kwargs: Any) -> tuple[Tensor, None]:
    context, _ = layer.attention.self(hidden, mask, **kwargs)
    attended = layer.attention.output(read.select(context), read.select(hidden))
    return layer.output(layer.intermediate(attended), attended), None


_SELECTING: dict[LastLayer, Callable[..., Any]] = {
    "bert": _select_in_bert,
    "distilbert": _select_in_distilbert,
    "modernbert": _select_in_modernbert,
    "deberta": _select_in_deberta,
}
