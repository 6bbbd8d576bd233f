from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.json_values import read_json_lines, read_json_list
from finetune.errors import DataError

FILE = Path("rows.json")
VALUES = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
SPACE = st.text(" \t\n\r", max_size=3)


@pytest.mark.slow
@given(st.lists(st.tuples(SPACE, VALUES, st.sampled_from([None, 1]), SPACE)), SPACE, SPACE)
def test_a_list_is_read_as_json_reads_it_with_the_line_of_each_item(items, before, after):
    written, expected = f"{before}[", []
    for number, (left, value, indent, right) in enumerate(items):
        written += "," * (number > 0) + left
        expected.append((value, 1 + written.count("\n")))
        written += json.dumps(value, indent=indent) + right
    written += "]" + after
    values, lines = read_json_list(written.split("\n"), FILE)
    assert values == json.loads(written)
    assert list(zip(values, lines, strict=True)) == expected


@pytest.mark.parametrize("text", ["[", "[1", "[1,", "[1,]", "[1 2]", "[1]]", "[1]\n[2]", "[,1]", '["a]'])
def test_what_json_refuses_is_refused(text):
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    with pytest.raises(DataError, match=r"rows.json:\d: this is no JSON"):
        read_json_list(text.split("\n"), FILE)


def test_lines_keep_their_numbers_and_all_that_are_wrong_are_told():
    assert read_json_lines(['{"a": 1}', "", " 2 "], FILE) == ([{"a": 1}, 2], [1, 3])
    with pytest.raises(DataError) as caught:
        read_json_lines(["{", "1", "x"], FILE)
    assert [problem.line for problem in caught.value.problems] == [1, 3]
