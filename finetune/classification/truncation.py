"""Texts and pairs too long for the model: which of their subwords to keep, as arrays over all texts at once.

A part of a row is one run of subwords of one text: `start` and `length`. Each text gives a row two parts, its head and its
tail; where nothing is left out in between, the tail is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from finetune.encoding.ragged import ranges

Ints = npt.NDArray[np.int64]

# Sun et al. (2019), "How to Fine-Tune BERT for Text Classification?", keep the first 128 and last 382 of 510 subwords.
HEAD_SHARE = 128 / 510


class LongText(StrEnum):
    """What to do with texts that are longer than the model takes."""

    TRUNCATE = "truncate"
    HEAD_TAIL = "head_tail"
    WINDOWS = "windows"


@dataclass(frozen=True)
class Parts:
    """For each row: where the head and the tail of a text begin, and how long they are; arrays (rows,)."""

    head_start: Ints
    head_length: Ints
    tail_start: Ints
    tail_length: Ints

    @property
    def length(self) -> Ints:
        return self.head_length + self.tail_length


@dataclass(frozen=True)
class Fitted:
    """Row i is made of `first` (and `second`, for pairs) of text `example[i]`."""

    example: Ints
    first: Parts
    second: Parts


def fit_texts(
    first: Ints, second: Ints, *, capacity: int, how: LongText, stride: int = 0, keep_end: bool = False
) -> Fitted:
    """Choose the subwords that each row keeps.

    `first` and `second` are the subwords of the two texts of each example, (examples,); zeros where there is no second.
    `capacity` is what a row holds without special tokens. `how`: truncate both texts, the longer one first, as
    transformers' `longest_first`; or keep heads and tails of the same lengths; or make several rows, which share
    `stride` subwords and together hold the whole longer text. `keep_end` truncates at the beginning (a tokenizer's
    `truncation_side` may be "left").
    """
    if how is LongText.WINDOWS:
        return _windows(first, second, capacity, stride)
    kept_first, kept_second = share_capacity(first, second, capacity)
    part = _head_and_tail if how is LongText.HEAD_TAIL else _end if keep_end else _beginning
    return Fitted(np.arange(len(first)), part(first, kept_first), part(second, kept_second))


def share_capacity(first: Ints, second: Ints, capacity: int) -> tuple[Ints, Ints]:
    """How many subwords of each text fit, the longer one giving way first; the halves where both are too long."""
    shorter, longer = np.minimum(first, second), np.maximum(first, second)
    fits = shorter + longer <= capacity
    rest = np.maximum(shorter, capacity - shorter)
    both = shorter + rest > capacity
    kept_shorter = np.where(both & ~fits, capacity // 2, shorter)
    kept_longer = np.where(fits, longer, np.where(both, capacity - capacity // 2, rest))
    swapped = first > second
    return np.where(swapped, kept_longer, kept_shorter), np.where(swapped, kept_shorter, kept_longer)


def _beginning(lengths: Ints, kept: Ints) -> Parts:
    none = np.zeros_like(lengths)
    return Parts(none, kept, none, none)


def _end(lengths: Ints, kept: Ints) -> Parts:
    none = np.zeros_like(lengths)
    return Parts(lengths - kept, kept, none, none)


def _head_and_tail(lengths: Ints, kept: Ints) -> Parts:
    is_cut = kept < lengths
    head = np.where(is_cut, np.round(kept * HEAD_SHARE).astype(np.int64), kept)
    tail = kept - head
    return Parts(np.zeros_like(lengths), head, lengths - tail, tail)


def _windows(first: Ints, second: Ints, capacity: int, stride: int) -> Fitted:
    """The longer text in windows beside the whole other one, which is cut to half the capacity at most."""
    longer_is_first = first >= second
    other = np.minimum(np.minimum(first, second), capacity // 2)
    size = capacity - other
    longer = np.maximum(first, second)
    step = size - np.minimum(stride, size - 1)
    count = 1 + np.maximum(0, -(-(longer - size) // step))
    example = np.repeat(np.arange(len(first)), count)
    number = ranges(np.zeros_like(count), count)
    # The last window is moved back to be full: its texts are then as long as those of the others.
    start = np.minimum(number * step[example], np.maximum(longer - size, 0)[example])
    length = np.minimum(longer, size)[example]
    none = np.zeros_like(example)
    windowed, whole = (start, length), (none, other[example])
    chosen = longer_is_first[example]
    first_start, first_length = (np.where(chosen, a, b) for a, b in zip(windowed, whole, strict=True))
    second_start, second_length = (np.where(chosen, b, a) for a, b in zip(windowed, whole, strict=True))
    return Fitted(example, Parts(first_start, first_length, none, none), Parts(second_start, second_length, none, none))
