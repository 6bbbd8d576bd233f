from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from finetune.encoding.ragged import offsets_of, ranges, take_rows

rows_of_numbers = st.lists(st.lists(st.integers(0, 99), max_size=5), min_size=1, max_size=8)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 6)), max_size=20))
def test_ranges_are_python_ranges_one_after_the_other(pairs):
    expected = [value for start, length in pairs for value in range(start, start + length)]
    assert ranges([start for start, _ in pairs], [length for _, length in pairs]).tolist() == expected


@given(rows_of_numbers, st.data())
def test_take_rows_is_indexing_a_list_of_rows(rows, data):
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=12))
    flat = np.array([value for row in rows for value in row], dtype=np.int64)
    values, offsets = take_rows(flat, offsets_of([len(row) for row in rows]), np.array(chosen, dtype=np.int64))
    taken = [values[a:b].tolist() for a, b in pairwise(offsets)]
    assert taken == [rows[index] for index in chosen]
