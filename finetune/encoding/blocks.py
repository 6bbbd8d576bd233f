"""Subwords of lines -> examples of at most `max_length` ids, special tokens included. Nothing is dropped.

Three ways to pack, each over any number of batches of lines, with what is left over carried from one to the next:

- `LinePacker`: one line, one example; a line too long for one becomes several.
- `SentencePacker`: whole lines, as many as fit, joined by a separator (FULL-SENTENCES of Liu et al. 2019, RoBERTa).
- `StreamPacker`: one endless stream of subwords cut every `max_length` ids; the tail becomes a shorter last example.

Index arithmetic throughout: the only Python loop steps from block to block, never from subword to subword.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from finetune.encoding.lines import EncodedLines
from finetune.encoding.ragged import offsets_of, ranges
from finetune.encoding.special_tokens import SpecialTokens

WORD_START = 1  # bits of a flag
DOCUMENT_START = 2

Ids = npt.NDArray[np.unsignedinteger]
Flags = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Blocks:
    """Examples, ragged: example i has the next `lengths[i]` of `ids` and of `flags` (where words, documents begin)."""

    ids: Ids  # (ids,)
    lengths: npt.NDArray[np.int64]  # (examples,)
    flags: Flags  # (ids,)


class Packer(Protocol):
    """`pack` takes the next lines and gives the blocks that are full; `finish` gives what is left. `counts` says what
    happened: `lines`, `lines_cut` (too long for one example), `tail` (ids of a last example that is not full).
    """

    counts: Counter[str]

    def pack(self, lines: EncodedLines) -> Blocks: ...

    def finish(self) -> Blocks: ...


def flags_of(lines: EncodedLines) -> Flags:
    """Flags (subwords,) of lines: where words begin (everywhere, if that is not known), where documents begin."""
    starts = np.ones(len(lines.ids), dtype=bool) if lines.word_starts is None else lines.word_starts
    flags = starts.astype(np.uint8) * WORD_START
    flags[offsets_of(lines.lengths)[:-1][lines.begins_document]] |= DOCUMENT_START
    return flags


@dataclass
class Layout:
    """Flat ids and flags being laid out: bodies copied to their places, special ids written between them."""

    ids: Ids
    flags: Flags

    @classmethod
    def empty(cls, size: int, dtype: npt.DTypeLike) -> Layout:
        return cls(np.empty(size, dtype=dtype), np.full(size, WORD_START, dtype=np.uint8))

    def copy_rows(self, starts: npt.NDArray, lengths: npt.NDArray, ids: Ids, flags: Flags) -> None:
        """Copy rows that follow each other in `ids` to `starts`."""
        places = ranges(starts, lengths)
        self.ids[places] = ids
        self.flags[places] = flags

    def write(self, starts: npt.NDArray, specials: npt.NDArray) -> None:
        """Write the same few special ids at every one of `starts`."""
        for shift, special in enumerate(specials):
            self.ids[starts + shift] = special


class LinePacker:
    """One line, one example."""

    def __init__(self, max_length: int, specials: SpecialTokens) -> None:
        self.room = max_length - len(specials)
        self.specials = specials
        self.counts: Counter[str] = Counter()

    def pack(self, lines: EncodedLines) -> Blocks:
        """Special tokens around every line; a line of more than `room` subwords is cut into several examples."""
        lengths = cut_lengths(lines.lengths, self.room)
        self.counts.update(lines=len(lines.lengths), lines_cut=int((lines.lengths > self.room).sum()))
        return surround_rows(lines.ids, flags_of(lines), lengths, self.specials)

    def finish(self) -> Blocks:
        return Blocks(np.empty(0, np.uint16), np.empty(0, np.int64), np.empty(0, np.uint8))


def cut_lengths(lengths: npt.NDArray, room: int) -> npt.NDArray[np.int64]:
    """Lengths of the parts when rows longer than `room` are cut into full parts and a rest.

    >>> cut_lengths(np.array([3, 5, 4]), 2)
    array([2, 1, 2, 2, 1, 2, 2])
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    parts = -(-lengths // room)
    result = np.full(parts.sum(), room, dtype=np.int64)
    result[np.cumsum(parts) - 1] = lengths - (parts - 1) * room
    return result


def surround_rows(ids: Ids, flags: Flags, lengths: npt.NDArray, specials: SpecialTokens) -> Blocks:
    """Put special tokens around every row."""
    surrounded = lengths + len(specials)
    starts = offsets_of(surrounded)[:-1]
    result = Layout.empty(int(surrounded.sum()), ids.dtype)
    result.write(starts, specials.prefix)
    result.copy_rows(starts + len(specials.prefix), lengths, ids, flags)
    result.write(starts + len(specials.prefix) + lengths, specials.suffix)
    return Blocks(result.ids, surrounded, result.flags)


class SentencePacker:
    """Whole lines, as many as fit into an example.

    Args:
        max_length: ids of an example at most.
        specials: put around each example.
        separator: ids between two lines of an example.
        within_documents: no example holds lines of two documents.
    """

    def __init__(
        self, max_length: int, specials: SpecialTokens, *, separator: npt.NDArray, within_documents: bool = False
    ) -> None:
        self.room = max_length - len(specials)
        self.specials = specials
        self.separator = separator
        self.within_documents = within_documents
        self.counts: Counter[str] = Counter()
        self._open: _Units | None = None  # lines of the example that is not full yet

    def pack(self, lines: EncodedLines) -> Blocks:
        """Blocks that are full; the lines after them wait for more."""
        self.counts.update(lines=len(lines.lengths), lines_cut=int((lines.lengths > self.room).sum()))
        units = _Units.of(lines, self.room)
        units = units if self._open is None else self._open.followed_by(units)
        firsts = self._find_firsts(units)
        self._open = units.tail(firsts[-1] if firsts else 0)
        return self._lay_out(units.head(firsts[-1] if firsts else 0), np.array(firsts[:-1], dtype=np.int64))

    def finish(self) -> Blocks:
        """The lines that wait, as a last example."""
        units, self._open = self._open, None
        if units is None or not len(units.lengths):
            return Blocks(np.empty(0, np.uint16), np.empty(0, np.int64), np.empty(0, np.uint8))
        blocks = self._lay_out(units, np.zeros(1, dtype=np.int64))
        self.counts["tail"] = int(blocks.lengths[-1])
        return blocks

    def _find_firsts(self, units: _Units) -> list[int]:
        """The first unit of every block; the last block is open."""
        leads = units.leads * len(self.separator)
        ends = np.cumsum(units.lengths + leads)
        before = ends - units.lengths  # where a block that begins with this unit would begin: no separator in front
        following = np.searchsorted(ends, before + self.room, side="right")
        if self.within_documents:
            borders = np.append(np.flatnonzero(units.begins_document), len(ends))
            following = np.minimum(following, borders[np.searchsorted(borders, np.arange(len(ends)), side="right")])
        return follow(following)

    def _lay_out(self, units: _Units, firsts: npt.NDArray[np.int64]) -> Blocks:
        if not len(firsts):
            return Blocks(units.ids, np.empty(0, np.int64), units.flags)
        is_first = np.zeros(len(units.lengths), dtype=bool)
        is_first[firsts] = True
        leads = np.where(is_first, 0, units.leads * len(self.separator))
        bodies = np.add.reduceat(units.lengths + leads, firsts)
        lengths = bodies + len(self.specials)
        before = np.where(is_first, len(self.specials.prefix), leads)
        before[firsts[1:]] += len(self.specials.suffix)
        starts = np.cumsum(before) + offsets_of(units.lengths)[:-1]
        result = Layout.empty(int(lengths.sum()), units.ids.dtype)
        result.copy_rows(starts, units.lengths, units.ids, units.flags)
        result.write((starts - len(self.separator))[leads > 0], self.separator)
        block_starts = offsets_of(lengths)[:-1]
        result.write(block_starts, self.specials.prefix)
        result.write(block_starts + len(self.specials.prefix) + bodies, self.specials.suffix)
        return Blocks(result.ids, lengths, result.flags)


def follow(following: npt.NDArray[np.int64], first: int = 0) -> list[int]:
    """`first`, `following[first]`, ... while inside the array: the chain of blocks, each told by the one before."""
    steps = following.tolist()
    chain, current = [], first
    while current < len(steps):
        chain.append(current)
        current = steps[current]
    return chain


@dataclass(frozen=True)
class _Units:
    """Lines, or parts of long ones: what is never cut again. `leads`: it begins a line, so a separator is in front."""

    ids: Ids
    flags: Flags
    lengths: npt.NDArray[np.int64]
    leads: npt.NDArray[np.bool_]
    begins_document: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, lines: EncodedLines, room: int) -> _Units:
        parts = -(-lines.lengths.astype(np.int64) // room)
        firsts = offsets_of(parts)[:-1]
        leads, begins = np.zeros((2, parts.sum()), dtype=bool)
        leads[firsts] = True
        begins[firsts] = lines.begins_document
        return cls(lines.ids, flags_of(lines), cut_lengths(lines.lengths, room), leads, begins)

    def followed_by(self, other: _Units) -> _Units:
        return _Units(
            *(np.concatenate([getattr(self, name), getattr(other, name)]) for name in self.__dataclass_fields__)
        )

    def head(self, count: int) -> _Units:
        ids = int(self.lengths[:count].sum())
        return _Units(
            self.ids[:ids], self.flags[:ids], self.lengths[:count], self.leads[:count], self.begins_document[:count]
        )

    def tail(self, count: int) -> _Units:
        ids = int(self.lengths[:count].sum())
        return _Units(
            self.ids[ids:], self.flags[ids:], self.lengths[count:], self.leads[count:], self.begins_document[count:]
        )


class StreamPacker:
    """One stream of ids, cut every `max_length`.

    Args:
        max_length: ids of an example.
        line_template: special tokens around each line (Hugging Face's masked recipe), or None.
        block_template: special tokens around each example, or None.
    """

    def __init__(
        self,
        max_length: int,
        *,
        line_template: SpecialTokens | None = None,
        block_template: SpecialTokens | None = None,
    ) -> None:
        self.room = max_length - (len(block_template) if block_template else 0)
        self.line_template, self.block_template = line_template, block_template
        self.counts: Counter[str] = Counter()
        self._ids: Ids = np.empty(0, dtype=np.uint16)
        self._flags: Flags = np.empty(0, dtype=np.uint8)

    def pack(self, lines: EncodedLines) -> Blocks:
        """Full examples; what is left waits for more."""
        self.counts["lines"] += len(lines.lengths)
        ids, flags = self._stream(lines)
        self._ids, self._flags = np.concatenate([self._ids, ids]), np.concatenate([self._flags, flags])
        return self._take(len(self._ids) // self.room * self.room)

    def finish(self) -> Blocks:
        """The tail, a last example that is shorter."""
        self.counts["tail"] = len(self._ids) % self.room
        return self._take(len(self._ids))

    def _stream(self, lines: EncodedLines) -> tuple[Ids, Flags]:
        """Ids and flags of these lines, surrounded."""
        flags = flags_of(lines)
        if self.line_template is None or not len(lines.lengths):
            return lines.ids, flags
        prefix = len(self.line_template.prefix)
        result = surround_rows(lines.ids, flags, lines.lengths.astype(np.int64), self.line_template)
        if prefix:  # a document begins with what stands in front of its first line
            starts = offsets_of(result.lengths)[:-1][lines.begins_document]
            result.flags[starts] |= DOCUMENT_START
            result.flags[starts + prefix] &= ~np.uint8(DOCUMENT_START)
        return result.ids, result.flags

    def _take(self, size: int) -> Blocks:
        ids, flags = self._ids[:size], self._flags[:size]
        self._ids, self._flags = self._ids[size:].copy(), self._flags[size:].copy()
        lengths = cut_lengths(np.array([size]), self.room) if size else np.empty(0, np.int64)
        return (
            surround_rows(ids, flags, lengths, self.block_template)
            if self.block_template
            else Blocks(ids, lengths, flags)
        )
