from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from finetune.encoding.ragged import offsets_of
from finetune.tagging.windows import own_words, plan_windows, window_words


@st.composite
def splits(draw):
    sentences = draw(st.lists(st.lists(st.integers(1, 9), max_size=40), min_size=1, max_size=4))
    capacity = draw(st.integers(1, 30))
    return sentences, capacity, draw(st.integers(0, capacity - 1))


def plan(sentences, capacity, stride):
    lengths = np.array([length for sentence in sentences for length in sentence], dtype=np.int64)
    offsets = offsets_of([len(sentence) for sentence in sentences])
    windows = plan_windows(lengths, offsets, capacity=capacity, stride=stride)
    return lengths, offsets, windows


@given(splits())
@example(([[1] * 40], 5, 4))
@example(([[9, 1, 9, 1]], 3, 2))
def test_windows_fit_cover_and_advance(case):
    sentences, capacity, stride = case
    lengths, offsets, windows = plan(*case)
    clipped = np.minimum(lengths, capacity)
    for sentence in range(len(sentences)):
        mine = np.flatnonzero(windows.sentence == sentence)
        spans = [(int(windows.first[i]), int(windows.last[i])) for i in mine]
        if not sentences[sentence]:
            assert spans == []
            continue
        assert spans[0][0] == offsets[sentence] and spans[-1][1] == offsets[sentence + 1]
        assert all(0 < clipped[first:last].sum() <= capacity for first, last in spans)
        for (first, last), (next_first, next_last) in pairwise(spans):
            assert first < next_first <= last < next_last
            assert clipped[next_first:last].sum() <= stride
    assert (np.diff(windows.sentence) >= 0).all()


@given(splits())
def test_sentences_that_fit_are_one_window(case):
    sentences, capacity, _ = case
    _, offsets, windows = plan(*case)
    for sentence, words in enumerate(sentences):
        if words and sum(words) <= capacity:
            assert [(windows.first[i], windows.last[i]) for i in np.flatnonzero(windows.sentence == sentence)] == [
                (offsets[sentence], offsets[sentence + 1])
            ]


@given(splits())
def test_every_word_is_owned_once_where_it_has_most_context(case):
    _, capacity, _ = case
    lengths, _, windows = plan(*case)
    clipped = np.minimum(lengths, capacity).tolist()
    words, owners = window_words(windows)
    owned = own_words(windows, lengths, capacity)
    owner_of = dict(zip(words[owned].tolist(), owners[owned].tolist(), strict=True))
    assert sorted(words[owned].tolist()) == list(range(len(lengths)))
    for word in range(len(lengths)):
        context = {
            window: min(sum(clipped[first:word]), sum(clipped[word + 1 : last]))
            for window, (first, last) in enumerate(zip(windows.first.tolist(), windows.last.tolist(), strict=True))
            if first <= word < last
        }
        assert owner_of[word] == max(context, key=lambda window: (context[window], -window))


def test_overlap_reaches_the_stride_where_words_allow_it():
    _, _, windows = plan([[1] * 100], 20, 8)
    assert (windows.last[:-1] - windows.first[1:] == 8).all()


@pytest.mark.parametrize("stride", [-1, 10, 11])
def test_a_stride_that_cannot_advance_is_refused(stride):
    with pytest.raises(ValueError, match=r"stride must lie in 0\.\.9"):
        plan([[1] * 20], 10, stride)
