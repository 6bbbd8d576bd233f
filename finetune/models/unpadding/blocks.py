"""A packed batch cut into blocks of sentences of similar length, each padded to a common length around the attention.

The attention's cost grows with the square of the padded length: sixteen sentences of 31 tokens on average, padded to the
longest of them, spend two thirds of it on padding. Sentences are sorted by length and cut in fours, so that the number of
sentences of a block stays one of a few multiples (every new shape costs oneDNN a new kernel).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from finetune.models.unpadding.layout import TokenLayout, round_up

Integers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
_SENTENCES = 4


@dataclass(frozen=True, eq=False)
class AttentionBlock:
    """Sentences padded to `length`; heads stand beside sentences."""

    heads: int
    length: int
    first: int  # this block's first place among the places of all blocks
    gather: Tensor  # (sentences * heads * length,) row of the (rows * heads, head size) view for every padded place
    padding: Tensor  # padded places that hold no token
    present: Tensor  # (sentences, length) bool

    def pad(self, rows: Tensor) -> Tensor:
        """(rows, heads, head size) -> (sentences * heads, length, head size); anything at padding."""
        size = rows.shape[-1]
        return rows.reshape(-1, size).index_select(0, self.gather).view(-1, self.length, size)

    def pad_with_zeros(self, rows: Tensor) -> Tensor:
        padded = self.pad(rows)
        padded.view(-1, rows.shape[-1]).index_fill_(0, self.padding, 0)
        return padded

    def part_of(self, places: Tensor) -> Tensor:
        """View of this block, (sentences * heads, length, head size), in `AttentionBlocks.empty_places`."""
        part = places[self.first : self.first + len(self.gather)]
        return part.view(-1, self.length, places.shape[-1])

    def sees_all(self, window: int | None) -> bool:
        """Whether there is no padding, and no key too far away."""
        return not len(self.padding) and (window is None or window >= self.length)

    def visible(self, window: int | None) -> Tensor:
        """(sentences, 1, 1 or length, length) bool: which keys a query may see. A padding query sees every real key."""
        visible = self.present[:, None, None, :]
        if window is None or window >= self.length:
            return visible
        place = torch.arange(self.length, device=self.present.device)
        near = (place[:, None] - place).abs() <= window
        return visible & (near | ~self.present[:, None, :, None])

    def bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """(sentences * heads, 1 or length, length) to add to the scores: 0 where a key may be seen, else very negative."""
        visible = self.visible(window).expand(-1, self.heads, -1, -1).flatten(0, 1)
        bias = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        return bias.masked_fill_(~visible, torch.finfo(dtype).min)


@dataclass(frozen=True, eq=False)
class AttentionBlocks:
    """All sentences of a batch, and the way back from their padded places to packed rows."""

    heads: int
    blocks: tuple[AttentionBlock, ...]
    scatter: Tensor  # (rows * heads,) place of every row of the view among the places of all blocks in a row
    filler: Tensor  # rows of the view that hold no token

    def empty_places(self, like: Tensor) -> Tensor:
        """(places of all blocks, head size), to be filled block by block."""
        return like.new_empty(sum(len(block.gather) for block in self.blocks), like.shape[-1])

    def pack(self, places: Tensor) -> Tensor:
        """(places of all blocks, head size) -> (rows, heads, head size); anything in filler rows."""
        return places.index_select(0, self.scatter).view(-1, self.heads, places.shape[-1])

    def pack_with_zeros(self, places: Tensor) -> Tensor:
        rows = self.pack(places)
        rows.view(-1, rows.shape[-1]).index_fill_(0, self.filler, 0)
        return rows


def build_blocks(layout: TokenLayout, heads: int) -> AttentionBlocks:
    """Lay out the sentences of `layout` that have a token (one without would make its softmax undefined)."""
    device = layout.real.device
    lengths = np.array(layout.lengths, dtype=np.int64)
    starts = lengths.cumsum() - lengths
    scatter = np.zeros(layout.rows * heads, dtype=np.int64)
    blocks, first = [], 0
    for sentences, length in _group(lengths, layout.rounding.length, device.type):
        present = np.arange(length) < lengths[sentences, None]  # (sentences, length)
        rows = np.where(present, starts[sentences, None] + np.arange(length), 0)
        gather = rows[:, None, :] * heads + np.arange(heads)[:, None]  # (sentences, heads, length)
        real = np.broadcast_to(present[:, None, :], gather.shape).reshape(-1)
        scatter[gather.reshape(-1)[real]] = first + np.flatnonzero(real)
        indices = (gather.reshape(-1), np.flatnonzero(~real), present)
        blocks.append(AttentionBlock(heads, length, first, *(_to(index, device) for index in indices)))
        first += real.size
    filler = np.arange(layout.tokens * heads, layout.rows * heads)
    return AttentionBlocks(heads, tuple(blocks), _to(scatter, device), _to(filler, device))


def _group(lengths: Integers, multiple: int, device: str) -> list[tuple[Integers, int]]:
    """Sentences of each block and its padded length, longest first. An accelerator prefers one large block."""
    order = np.argsort(-lengths, kind="stable")[: max(1, np.count_nonzero(lengths))]
    size = _SENTENCES if device == "cpu" else len(order)
    groups: list[tuple[Integers, int]] = []
    for start in range(0, len(order), size):
        sentences = order[start : start + size]
        length = round_up(max(1, int(lengths[sentences[0]])), multiple)
        if groups and groups[-1][1] == length:
            sentences = np.concatenate((groups.pop()[0], sentences))
        groups.append((sentences, length))
    return groups


def _to(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)
