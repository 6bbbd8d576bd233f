"""Masks with an exact number of positions per sequence, as BERT's pregenerated data has them: subwords or whole words."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from finetune.encoding.draws import Bits
from finetune.encoding.masking import spread_over_words

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def choose_masked(candidates: Bools, budget: Ints, bits: Bits, word_starts: Bools | None = None) -> Bools:
    """Which positions are masked: of the `candidates` (instances, width) as many as `budget` (instances,) allows, by chance.

    With `word_starts`, whole words in random order, passing over each that the budget does not leave room for.
    """
    keys = random_keys(bits)
    if word_starts is not None:
        return _choose_words(candidates, budget, keys, word_starts)
    nobody = np.iinfo(keys.dtype).max
    keys = np.where(candidates, keys, nobody)
    budget = np.minimum(budget, candidates.sum(axis=1))
    threshold = np.take_along_axis(np.sort(keys, axis=1), np.maximum(budget - 1, 0)[:, None], axis=1)
    return (keys <= threshold) & candidates & (budget > 0)[:, None]


def random_keys(bits: Bits) -> npt.NDArray[np.uint32]:
    """Random 31-bit keys without ties within a row: their last bits are the column."""
    width = bits.shape[1]
    column_bits = max(width - 1, 1).bit_length()
    random_part = (bits >> np.uint64(33 + column_bits)) << np.uint64(column_bits)
    return (random_part | np.arange(width, dtype=np.uint64)).astype(np.uint32)


def _choose_words(candidates: Bools, budget: Ints, keys: npt.NDArray[np.uint32], word_starts: Bools) -> Bools:
    starts = candidates & word_starts
    nobody = np.iinfo(keys.dtype).max
    order = np.argsort(np.where(starts, keys, nobody), axis=1)  # words in random order, then everything else
    sizes = np.take_along_axis(word_sizes(starts, candidates), order, axis=1)
    chosen = np.zeros(starts.shape, dtype=bool)
    room = budget.copy()
    for rank in range(int(starts.sum(axis=1).max())):
        fits = (sizes[:, rank] > 0) & (sizes[:, rank] <= room)
        room -= np.where(fits, sizes[:, rank], 0)
        chosen[:, rank] = fits
        if not room.any():
            break
    chosen_starts = np.zeros_like(chosen)
    np.put_along_axis(chosen_starts, order, chosen, axis=1)
    # A subword belongs to the word that begins last before it; separators are no candidates and end nothing they hold.
    return spread_over_words(chosen_starts, starts | ~candidates) & candidates


def word_sizes(starts: Bools, candidates: Bools) -> Ints:
    """At each start of a word the number of its subwords, elsewhere 0."""
    rows, columns = np.nonzero(starts)
    numbers = np.cumsum(starts, axis=1) - 1 + np.concatenate([[0], np.cumsum(starts.sum(axis=1))[:-1]])[:, None]
    counts = np.bincount(numbers[candidates], minlength=len(rows))
    sizes = np.zeros(starts.shape, dtype=np.int64)
    sizes[rows, columns] = counts
    return sizes
