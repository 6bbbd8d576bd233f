from __future__ import annotations

from collections import Counter
from itertools import chain

import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.corpus import build_dataset
from finetune.encoding.tag_column import TagColumn
from finetune.encoding.tags import _count_begins, split_tag

TAGS = st.lists(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), max_size=6), max_size=6)


def split_of(sequences) -> Dataset:
    return build_dataset({"tags": pa.array(sequences, pa.list_(pa.string()))})


@given(TAGS)
def test_a_split_and_lists_are_the_same_column(sequences):
    column, expected = TagColumn.of_split(split_of(sequences)), list(chain.from_iterable(sequences))
    assert column.to_lists() == TagColumn.of_sequences(sequences).to_lists() == sequences
    assert column.counts() == Counter(expected)
    assert column.names == list(dict.fromkeys(expected))
    numbers = {"O": 7, "B-X": 5, "I-X": 3, "B-Y": 2, "I-Y": 1}
    assert column.numbered(numbers).tolist() == [numbers[tag] for tag in expected]
    assert column.respelt({tag: tag.lower() for tag in numbers}).to_pylist() == [
        [tag.lower() for tag in tags] for tags in sequences
    ]


@given(TAGS, st.sets(st.sampled_from(["O", "B-X", "unheard"])))
def test_places_of_some_tags(sequences, wanted):
    expected = [
        (tag, row, place) for row, tags in enumerate(sequences) for place, tag in enumerate(tags) if tag in wanted
    ]
    assert list(TagColumn.of_split(split_of(sequences)).places(wanted)) == expected


@given(TAGS, TAGS)
def test_joined_columns(first, second):
    joined = TagColumn.joined([TagColumn.of_sequences(first), TagColumn.of_sequences(second)])
    assert joined.to_lists() == first + second


@given(TAGS)
def test_begins_are_those_counted_word_by_word(sequences):
    expected = Counter()
    for tags in sequences:
        for before, tag in zip(["O", *tags], tags, strict=False):
            letter, kind = split_tag(tag)
            if kind and kind != split_tag(before)[1]:
                expected[letter] += 1
    assert +_count_begins(TagColumn.of_sequences(sequences)) == expected


def test_rows_that_were_selected_and_a_split_without_tags():
    rows = split_of([["O"], ["B-X", "I-X"], ["O", "O"]]).select([2, 1])
    assert TagColumn.of_split(rows).to_lists() == [["O", "O"], ["B-X", "I-X"]]
    assert TagColumn.of_split(build_dataset({"words": [["a"]]})).names == []
    with pytest.raises(KeyError):
        TagColumn.of_split(rows).numbered({"O": 0})
