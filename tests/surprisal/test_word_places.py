"""Where words stand in their texts, for tokenizers of both libraries."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from finetune.encoding.subwords import SubwordEncoder
from finetune.surprisal.word_borders import find_word_borders
from finetune.surprisal.word_places import find_word_places

TEXTS = ["The quick  brown fox jumps", "", " Ärzte und\tKäufer ", "สวัสดี ครับ", "😀 dog dog. dog", "ﬁne New York\n"]


def places_of(tokenizer, texts, rows=None):
    """The characters of each word of each text."""
    encoder = SubwordEncoder(tokenizer)
    rows = [encoder.encode([text]).ids.astype(np.int64) for text in texts] if rows is None else rows
    borders = find_word_borders(tokenizer)
    starts = [borders.find_starts(ids, np.array([len(ids)])) for ids in rows]
    decode = lambda ids: tokenizer.decode(ids.tolist())  # noqa: E731
    found = find_word_places(encoder, texts, rows, starts, decode, tokenizer.all_special_ids)
    of_row = np.repeat(np.arange(len(texts)), [int(begins.sum()) for begins in starts])
    return [
        [(int(a), int(b)) for a, b, row in zip(found.first, found.end, of_row, strict=True) if row == number]
        for number in range(len(texts))
    ]


@pytest.mark.parametrize("name", ["gpt2", "roberta", "roberta_without_prefix"])
def test_byte_level_words_are_those_that_white_space_separates(request, name):
    for text, places in zip(TEXTS, places_of(request.getfixturevalue(name), TEXTS), strict=True):
        assert [text[first:end] for first, end in places] == text.split()


def test_words_of_any_tokenizer_follow_each_other_and_leave_nothing_out(any_tokenizer):
    for text, places in zip(TEXTS, places_of(any_tokenizer, TEXTS), strict=True):
        known = [place for place in places if place[0] >= 0]
        assert all(0 <= first < end <= len(text) for first, end in known)
        assert all(left[1] <= right[0] for left, right in itertools.pairwise(known))
        assert all(text[first:end] == text[first:end].strip() for first, end in known)


def test_cut_texts_and_parts_of_them(gpt2):
    text = "the cat saw the dog and the fox"
    ids = SubwordEncoder(gpt2).encode([text]).ids.astype(np.int64)
    whole = places_of(gpt2, [text])[0]
    end = gpt2.eos_token_id
    assert places_of(gpt2, [text], [np.array([*ids[:6], end])])[0][:2] == whole[:2]
    middle = int(np.flatnonzero(find_word_borders(gpt2).find_starts(ids, np.array([len(ids)])))[2])
    assert places_of(gpt2, [text], [ids[middle:]])[0] == whole[2:]


def test_a_part_that_occurs_twice_is_searched_from_the_beginning_or_has_no_place(gpt2):
    text = "xy the the the"
    ids = SubwordEncoder(gpt2).encode([text]).ids.astype(np.int64)
    (places,) = places_of(gpt2, [text], [ids[-1:]])
    assert places == [(-1, -1)]


class Spelled:
    """A tokenizer in Python as far as words go: each id is one of these, or unknown."""

    words = ("The", "quick", "fox", "over", "<unk>")

    def find_spans(self, texts):
        return [None] * len(texts)

    def decode(self, ids):
        return " ".join(self.words[index] for index in ids)


@pytest.mark.parametrize(
    ("text", "ids", "expected"),
    [
        ("the  Quick fox", [0, 1, 2], ["the", "Quick", "fox"]),  # lower-cased
        ("The zebra fox", [0, 4, 2], ["The", "zebra", "fox"]),  # an unknown word fills the gap
        ("The zebra of fox over", [0, 4, 4, 2, 3], ["The", None, None, "fox", "over"]),
        ("zebra over fox over", [4, 3, 2, 3], [None, None, "fox", "over"]),  # which "over" is not sure
        ("The", [4], [None]),
    ],
)
def test_words_of_tokenizers_that_tell_no_places(text, ids, expected):
    spelled, row = Spelled(), np.array(ids)
    found = find_word_places(spelled, [text], [row], [np.ones(len(row), bool)], spelled.decode, ())
    assert [text[a:b] if a >= 0 else None for a, b in zip(found.first, found.end, strict=True)] == expected
