"""Sentences too long for the model -> overlapping windows at word borders, every word owned by exactly one.

Windows of a sentence overlap by up to `stride` subwords. A word that lies in several of them is trained and scored only
in the one where it has most context, context being the smaller of the subwords to its left and to its right in that
window (the rule of Devlin et al. 2019 for long SQuAD paragraphs). Words are numbered through the whole split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune.encoding.ragged import offsets_of, ranges


@dataclass(frozen=True)
class Windows:
    """Window i holds the words `first[i]` to `last[i] - 1` of the split, which belong to `sentence[i]`."""

    sentence: npt.NDArray[np.int64]  # (windows,)
    first: npt.NDArray[np.int64]  # (windows,)
    last: npt.NDArray[np.int64]  # (windows,), exclusive

    def __len__(self) -> int:
        return len(self.sentence)


def plan_windows(
    word_lengths: npt.NDArray[np.integer], sentence_offsets: npt.NDArray[np.integer], *, capacity: int, stride: int
) -> Windows:
    """Cut sentences into windows of at most `capacity` subwords.

    Parameters
    ----------
    word_lengths
        Subwords of each word, (words,), at least 1; a word counts as at most `capacity` (it will be cut).
    sentence_offsets
        Where sentences begin, in words, (sentences + 1,). A sentence without words has no window.
    capacity
        Subwords in a window, special tokens not counted; at least 1.
    stride
        Subwords that neighbouring windows share at most, 0 <= stride < capacity. They share fewer where a word border or
        a long next word wants it: every window reaches further than the one before.
    """
    if not 0 <= stride < capacity:
        raise ValueError(f"stride must lie in 0..{capacity - 1} for windows of {capacity} subwords, not {stride}")
    subwords = offsets_of(np.minimum(word_lengths, capacity))
    sizes = np.diff(subwords[sentence_offsets])
    is_long = sizes > capacity
    short = np.flatnonzero(~is_long & (sizes > 0))
    cut = [
        (sentence, *window)
        for sentence in np.flatnonzero(is_long).tolist()
        for window in _cut(
            subwords, int(sentence_offsets[sentence]), int(sentence_offsets[sentence + 1]), capacity, stride
        )
    ]
    whole = np.stack([short, sentence_offsets[:-1][short], sentence_offsets[1:][short]], axis=1)
    table = np.concatenate([whole, np.array(cut, dtype=np.int64).reshape(-1, 3)])
    table = table[np.argsort(table[:, 1], kind="stable")]
    return Windows(sentence=table[:, 0], first=table[:, 1], last=table[:, 2])


def _cut(subwords: npt.NDArray[np.int64], start: int, end: int, capacity: int, stride: int) -> list[tuple[int, int]]:
    """Windows (first, last) over the words start..end of one sentence; `subwords` counts the subwords before each word."""
    windows, first = [], start
    while True:
        last = min(int(np.searchsorted(subwords, subwords[first] + capacity, side="right")) - 1, end)
        windows.append((first, last))
        if last == end:
            return windows
        next_word = subwords[last + 1] - subwords[last]
        overlap = min(stride, capacity - next_word)  # the next window must at least reach one word further
        first = int(np.searchsorted(subwords, subwords[last] - overlap, side="left"))


def count_subwords(windows: Windows, word_lengths: npt.NDArray[np.integer], capacity: int) -> int:
    """The subwords of all windows together, those that windows share as often as they are in one."""
    subwords = offsets_of(np.minimum(word_lengths, capacity))
    return int((subwords[windows.last] - subwords[windows.first]).sum())


def window_words(windows: Windows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Words of all windows, one window after the other, and the window of each: two arrays (window words,)."""
    lengths = windows.last - windows.first
    return ranges(windows.first, lengths), np.repeat(np.arange(len(windows)), lengths)


def own_words(windows: Windows, word_lengths: npt.NDArray[np.integer], capacity: int) -> npt.NDArray[np.bool_]:
    """Whether a window owns a word, for each pair of `window_words`; every word is owned exactly once.

    The owner is the window where the word has most context; the earlier one, if two are equal.
    """
    words, owners = window_words(windows)
    times = np.bincount(words, minlength=len(word_lengths))[words]
    owned = times == 1
    shared = np.flatnonzero(~owned)
    subwords = offsets_of(np.minimum(word_lengths, capacity))
    left = subwords[words[shared]] - subwords[windows.first[owners[shared]]]
    right = subwords[windows.last[owners[shared]]] - subwords[words[shared] + 1]
    order = np.lexsort((owners[shared], -np.minimum(left, right), words[shared]))
    best = np.ones(len(order), dtype=bool)
    best[1:] = np.diff(words[shared][order]) != 0
    owned[shared[order[best]]] = True
    return owned
