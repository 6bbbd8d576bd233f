"""Surprisals against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.surprisal.surprisal import group_sums, row_sums, sentence_surprisals, to_bits, word_surprisals


def test_bits():
    assert to_bits(np.log([0.5, 0.25, 1.0, 1 / 8])).tolist() == pytest.approx([1.0, 2.0, 0.0, 3.0])
    assert str(to_bits([0.0])[0]) == "0.0"
    assert to_bits([-math.inf])[0] == math.inf and math.isnan(to_bits([math.nan])[0])


def test_words_are_sums_of_their_pieces():
    words = word_surprisals([1.0, 2.0, 4.0, 8.0], np.array([True, False, True, True]))
    assert words.surprisal.tolist() == [3.0, 4.0, 8.0]
    assert words.first_token.tolist() == [0, 2, 3] and words.tokens.tolist() == [2, 1, 1]
    assert words.corrected.tolist() == words.surprisal.tolist()


def test_correction_on_a_language_that_can_be_listed():
    """Texts "a", "ab", "a a" with probabilities 1/2, 1/4, 1/4, as subwords a, b, _a, end: words counted by hand."""
    first_subword, border_after_a = 1.0, 3 / 4  # after "a": end 1/2, _a 1/4, b 1/4
    next_a, end = 1 / 4, 1.0  # p(_a | a); after "a _a" the text ends
    subwords = -np.log2([first_subword, next_a])
    words = word_surprisals(
        subwords,
        np.array([True, True]),
        border_before=-np.log2([1.0, border_after_a]),
        border_after=-np.log2([border_after_a, end]),
    )
    # the first word is "a" in two of the three texts: 1/2 + 1/4; given that, the second word is "a" in 1/4 of 3/4
    assert np.exp2(-words.corrected).tolist() == pytest.approx([3 / 4, 1 / 3])
    assert np.exp2(-words.surprisal).tolist() == pytest.approx([1.0, 1 / 4])


def test_borders_must_fit():
    with pytest.raises(ValueError, match="2 words"):
        word_surprisals([1.0, 1.0], np.array([True, True]), border_before=[0.0], border_after=[0.0])


def test_sentences():
    scores = sentence_surprisals([1.0, 3.0, math.nan, 2.0], np.array([0, 2, 2, 4]))
    assert scores.surprisal.tolist() == [4.0, 0.0, 2.0]
    assert scores.tokens.tolist() == [2, 0, 1]
    assert scores.mean[0] == 2.0 and math.isnan(scores.mean[1]) and scores.mean[2] == 2.0
    assert scores.perplexity[0] == 4.0


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.floats(-8, 8), max_size=4), max_size=6))
def test_ragged_sums_are_those_of_a_plain_loop(rows):
    flat = [value for row in rows for value in row]
    offsets = np.cumsum([0, *map(len, rows)])
    assert row_sums(flat, offsets).tolist() == pytest.approx([sum(row) for row in rows])
    starts = np.zeros(len(flat), dtype=bool)
    starts[[offset for offset, row in zip(offsets, rows, strict=False) if row]] = True
    assert group_sums(flat, starts).tolist() == pytest.approx([sum(row) for row in rows if row])
