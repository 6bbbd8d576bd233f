"""Where the real tokens of one padded batch lie, and the two moves between the padded and the packed shape.

A layout belongs to one forward call and travels with it as a keyword argument, so two forwards may be alive at once.
Packed rows stand in reading order: all tokens of the first sentence, then all of the second, and so on; they are
followed by a few filler rows, copies of the first position, that round the row count to a multiple (every new shape
costs oneDNN a new kernel). Nothing reads what the layers compute for filler rows, and their gradients are exactly zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from finetune.models.unpadding.read_rows import ReadRows, find_read_rows


@dataclass(frozen=True)
class Rounding:
    """Multiples that keep the number of different shapes small: packed rows, and lengths around the attention."""

    rows: int = 32
    length: int = 16


def round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


@dataclass(frozen=True, eq=False)
class TokenLayout:
    """The real tokens of one batch of sentences, each padded to the same length.

    What the layers read are tensors, whose sizes torch.compile can keep symbolic.
    """

    real: Tensor  # (batch, length) bool, True at real tokens
    lengths: tuple[int, ...]  # real tokens of every sentence, on the host
    sources: Tensor  # (rows,) position in the flattened (batch * length) that each packed row comes from
    targets: Tensor  # (batch * length,) packed row of each position; 0 at padding
    padding: Tensor  # (paddings,) positions of padding in the flattened (batch * length)
    filler: Tensor  # (fillers,) packed rows that are no token
    rounding: Rounding = Rounding()
    fast_dropout: bool = True  # attention probabilities are dropped by finetune.models.fast_dropout
    read: ReadRows | None = None  # what is read after the last layer, if that is not all
    derived: dict[Any, Any] = field(
        default_factory=dict, repr=False
    )  # what the attention made of it, once for all layers

    @property
    def tokens(self) -> int:
        """Number of real tokens: the sum of the attention mask."""
        return sum(self.lengths)

    @property
    def rows(self) -> int:
        """Number of packed rows: tokens, then filler."""
        return self.sources.shape[0]

    @cached_property
    def offsets(self) -> Tensor:
        """(sentences + 2,) int32 start of each sentence among the packed rows; the filler rows are a last sentence."""
        ends = torch.tensor((0, *self.lengths, self.rows - self.tokens)).cumsum(0)
        return ends.to(torch.int32).to(self.sources.device, non_blocking=True)

    @cached_property
    def longest(self) -> int:
        """An upper bound of the sentences' lengths, the filler's included."""
        return round_up(max(*self.lengths, self.rows - self.tokens), self.rounding.length)

    def pack(self, padded: Tensor) -> Tensor:
        """(batch, length, ...) -> (1, rows, ...)."""
        flat = padded.reshape(self.real.numel(), -1)
        return _PackRows.apply(flat, self).view(1, -1, *padded.shape[2:])

    def pad(self, packed: Tensor) -> Tensor:
        """(1, rows, ...) -> (batch, length, ...), zero at padding."""
        flat = packed.reshape(packed.shape[1], -1)
        return _PadRows.apply(flat, self).view(*self.real.shape, *packed.shape[2:])

    def pad_last(self, packed: Tensor) -> Tensor:
        """What the last layer gives, (1, rows or reads, hidden) -> (batch, length, hidden), zero where nothing is."""
        return self.pad(packed) if self.read is None else self.read.pad(packed, self.real.shape)


@torch.compiler.disable
def build_layout(
    mask: Tensor,
    *,
    lengths: Sequence[int] | None = None,
    rounding: Rounding = Rounding(),
    fast_dropout: bool = True,
    read_positions: Tensor | None = None,
) -> TokenLayout:
    """Derive the layout of `mask`, (batch, length), nonzero at real tokens.

    `lengths`, the mask's row sums known on the host, spare an accelerator one synchronisation per step. Raises
    ValueError when they are not the row sums (on a CPU, where looking costs nothing). `read_positions`: those of the
    flattened (batch * length) that somebody reads after the last layer; None for all.
    """
    real = mask.bool()
    if lengths is None or real.device.type == "cpu":
        sums = real.sum(dim=1).tolist()
        if lengths is not None and list(lengths) != sums:
            raise ValueError(f"sequence_lengths {list(lengths)} are not the row sums {sums} of attention_mask")
        lengths = sums
    tokens, positions, device = sum(lengths), real.numel(), real.device
    rows = _rounded_rows(tokens, positions, rounding.rows)
    sources = torch.nonzero_static(real.reshape(-1), size=rows, fill_value=0).squeeze(1)
    targets = torch.zeros(positions, dtype=torch.long, device=device)
    targets.index_copy_(0, sources[:tokens], torch.arange(tokens, device=device))
    padding = torch.nonzero_static(~real.reshape(-1), size=positions - tokens).squeeze(1)
    filler = torch.arange(tokens, rows, device=device)
    read = None if read_positions is None else find_read_rows(read_positions, real, targets, rows)
    return TokenLayout(real, tuple(lengths), sources, targets, padding, filler, rounding, fast_dropout, read)


def _rounded_rows(tokens: int, positions: int, multiple: int) -> int:
    """Rounding never makes a packed batch larger than the padded one, and an empty batch keeps one row."""
    return max(tokens, 1, min(round_up(tokens, multiple), positions))


class _PackRows(torch.autograd.Function):
    """Gather the real tokens. Gathering is cheaper than the scatter-add that autograd would use backwards."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, layout: TokenLayout) -> Tensor:
        ctx.layout = layout
        return flat.index_select(0, layout.sources)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _pad_rows(gradient, ctx.layout), None


class _PadRows(torch.autograd.Function):
    """Put packed rows back into their padded places."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, layout: TokenLayout) -> Tensor:
        ctx.layout = layout
        return _pad_rows(flat, layout)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        packed = gradient.index_select(0, ctx.layout.sources)
        return packed.index_fill_(0, ctx.layout.filler, 0), None


def _pad_rows(rows: Tensor, layout: TokenLayout) -> Tensor:
    return rows.index_select(0, layout.targets).index_fill_(0, layout.padding, 0)  # masked_fill_ is 5 times slower
