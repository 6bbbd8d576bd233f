from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.classification.truncation import LongText, fit_texts, share_capacity

LENGTHS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=8)


def longest_first(first: int, second: int, capacity: int) -> tuple[int, int]:
    """transformers' rule, one subword at a time off the longer text; equal texts lose from the second."""
    while first + second > capacity:
        if first > second:
            first -= 1
        else:
            second -= 1
    return first, second


@given(LENGTHS, st.integers(2, 40))
def test_pairs_share_like_longest_first(lengths: list[tuple[int, int]], capacity: int) -> None:
    first, second = np.array(lengths).T
    kept = np.stack(share_capacity(first, second, capacity), axis=1)
    for row, (a, b) in zip(kept, lengths, strict=True):
        expected = longest_first(a, b, capacity)
        # Where both are longer than half, the odd subword may go to either.
        assert sum(row) == sum(expected)
        assert abs(row[0] - expected[0]) <= (1 if min(a, b) > capacity // 2 else 0)


@given(LENGTHS, st.integers(4, 30), st.integers(0, 3))
def test_windows_hold_every_piece_of_the_longer_text(
    lengths: list[tuple[int, int]], capacity: int, stride: int
) -> None:
    first, second = np.array(lengths).T
    stride = min(stride, capacity - capacity // 2 - 1)
    fitted = fit_texts(first, second, capacity=capacity, how=LongText.WINDOWS, stride=stride)
    assert (fitted.first.length + fitted.second.length <= capacity).all()
    for example, pair in enumerate(lengths):
        rows = fitted.example == example
        assert rows.any()
        parts = fitted.first if pair[0] >= pair[1] else fitted.second
        seen = {
            subword
            for start, length in zip(parts.head_start[rows], parts.head_length[rows], strict=True)
            for subword in range(start, start + length)
        }
        assert seen == set(range(max(pair)))
        assert rows.sum() == 1 or sum(pair) > capacity


def test_windows_overlap_by_the_stride_and_the_last_is_full() -> None:
    fitted = fit_texts(np.array([25]), np.array([0]), capacity=10, how=LongText.WINDOWS, stride=4)
    assert fitted.first.head_start.tolist() == [0, 6, 12, 15]
    assert fitted.first.head_length.tolist() == [10, 10, 10, 10]


def test_head_and_tail_as_published() -> None:
    fitted = fit_texts(np.array([600, 510]), np.array([0, 0]), capacity=510, how=LongText.HEAD_TAIL)
    assert fitted.first.head_length.tolist() == [128, 510]
    assert fitted.first.tail_length.tolist() == [382, 0]
    assert fitted.first.tail_start.tolist() == [218, 510]


@pytest.mark.parametrize(("keep_end", "start"), [(False, 0), (True, 5)])
def test_truncation_side(keep_end: bool, start: int) -> None:
    fitted = fit_texts(np.array([15]), np.array([0]), capacity=10, how=LongText.TRUNCATE, keep_end=keep_end)
    assert (fitted.first.head_start[0], fitted.first.length[0]) == (start, 10)
