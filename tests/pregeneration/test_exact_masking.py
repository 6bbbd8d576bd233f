from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from finetune.encoding.draws import draw_bits, draw_number
from finetune.pregeneration.exact_masking import choose_masked, random_keys, word_sizes


def bits_of(rows, width, seed=0):
    return draw_bits([draw_number(seed, row) for row in range(rows)], width)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), rows=st.integers(1, 6), width=st.integers(1, 30))
def test_exactly_as_many_as_the_budget_allows(data, rows, width):
    flags = st.lists(st.booleans(), min_size=width, max_size=width)
    candidates = np.array([data.draw(flags) for _ in range(rows)])
    budget = np.array([data.draw(st.integers(0, width + 3)) for _ in range(rows)])
    masked = choose_masked(candidates, budget, bits_of(rows, width, data.draw(st.integers(0, 99))))
    assert not (masked & ~candidates).any()
    assert masked.sum(axis=1).tolist() == np.minimum(budget, candidates.sum(axis=1)).tolist()


def greedy_words(candidates, starts, keys, budget):
    """Words in the order of their keys, passing over each that does not fit: as one would write it by hand."""
    words = []
    for column in np.flatnonzero(candidates):
        if starts[column] or not words:
            words.append([column])
        else:
            words[-1].append(column)
    chosen = []
    for word in sorted(words, key=lambda word: keys[word[0]]):
        if len(chosen) + len(word) <= budget:
            chosen += word
    return sorted(int(column) for column in chosen)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), rows=st.integers(1, 5), a_length=st.integers(1, 12), b_length=st.integers(1, 12))
def test_whole_words_are_those_of_the_greedy_loop(data, rows, a_length, b_length):
    width = a_length + b_length + 3
    candidates = np.ones((rows, width), dtype=bool)
    candidates[:, [0, a_length + 1, width - 1]] = False
    flags = st.lists(st.booleans(), min_size=width, max_size=width)
    starts = np.array([data.draw(flags) for _ in range(rows)])
    starts[:, [1, a_length + 2]] = True
    budget = np.array([data.draw(st.integers(1, 10)) for _ in range(rows)])
    bits = bits_of(rows, width, data.draw(st.integers(0, 99)))
    masked = choose_masked(candidates, budget, bits, starts)
    keys = random_keys(bits)
    for row in range(rows):
        expected = greedy_words(candidates[row], starts[row], keys[row], budget[row])
        assert np.flatnonzero(masked[row]).tolist() == expected


def test_every_position_is_as_likely():
    candidates = np.ones((20_000, 16), dtype=bool)
    candidates[:, [0, 7, 15]] = False
    masked = choose_masked(candidates, np.full(20_000, 3), bits_of(20_000, 16))
    assert stats.chisquare(masked.sum(axis=0)[candidates[0]]).pvalue > 1e-5


def test_keys_have_no_ties_and_sizes_count_pieces():
    keys = random_keys(bits_of(50, 512))
    assert all(len(np.unique(row)) == 512 for row in keys)
    starts = np.array([[False, True, False, False, True, False]])
    candidates = np.array([[False, True, True, False, True, True]])
    assert word_sizes(starts, candidates).tolist() == [[0, 2, 0, 0, 2, 0]]
