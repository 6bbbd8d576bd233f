from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.encoding.document_context import (
    DocumentContext,
    choose_context,
    document_borders,
    documents_between,
    number_documents,
    surround_windows,
)
from finetune.encoding.padding import IGNORED
from finetune.tagging.encoding import encode_tagging
from finetune.tagging.window_rows import encode_windows, keep_sentences
from finetune.tagging.word_predictions import collect_word_predictions
from finetune.tagging.words import WordEncoder

LABELS = ["B-LOC", "B-PER", "I-LOC", "O"]
WORDS = ["Amsterdam", "Smith-Jones", "the", "fox", "\ufeff", "headquarters", "visited"]


@st.composite
def documents(draw):
    """Sentences with tags, and the document of each."""
    sentences = draw(st.lists(st.lists(st.sampled_from(WORDS), max_size=12), min_size=1, max_size=8))
    tags = [[draw(st.sampled_from(LABELS)) for _ in sentence] for sentence in sentences]
    keys = [draw(st.sampled_from([None, "a", "b"])) for _ in sentences]
    return sentences, tags, number_documents(keys)


def make_split(sentences, tags, numbers):
    return Dataset.from_dict({"words": sentences, "tags": tags, "document": numbers, "line": [0] * len(sentences)})


@given(
    case=documents(),
    max_length=st.integers(5, 60),
    context=st.integers(1, 30),
    all_tokens=st.booleans(),
    separated=st.booleans(),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_context_is_read_and_only_the_own_words_are_labelled(bert, case, max_length, context, all_tokens, separated):
    sentences, tags, numbers = case
    split = make_split(sentences, tags, numbers)
    options = {"max_length": max_length, "stride": (max_length - 2) // 4, "label_all_tokens": all_tokens}
    bare = encode_tagging(split, bert, LABELS, **options)
    read = choose_context(context, separated=separated, tokenizer=bert)
    wide = encode_tagging(split, bert, LABELS, context=read, **options)
    subwords = [
        [piece for word in row for piece in word[: max_length - 2]]
        for row in WordEncoder(bert).encode(sentences).rows()
    ]
    assert len(wide.dataset) == len(bare.dataset)
    separators = 0
    for row, alone in zip(wide.dataset, bare.dataset, strict=True):
        assert row["sentence"] == alone["sentence"]
        assert len(row["input_ids"]) <= max_length
        for column in ("labels", "word_positions"):
            own = [value for value in row[column] if value != IGNORED]
            assert own == [value for value in alone[column] if value != IGNORED]
        body, inside = row["input_ids"][1:-1], alone["input_ids"][1:-1]
        marks = [place for place, index in enumerate(body) if index == bert.sep_token_id]
        check_separators(row, body, marks, separated)
        separators += len(marks)
        body = [index for index in body if index != bert.sep_token_id]
        place = len(body) - len(inside)
        fits = [
            at
            for at in range(place + 1)
            if body[at : at + len(inside)] == inside and at <= context and place - at <= context
        ]
        whole = [
            piece
            for other, number in enumerate(numbers)
            if number == numbers[row["sentence"]]
            for piece in subwords[other]
        ]
        assert fits
        assert any(whole[at : at + len(body)] == body for at in range(len(whole)))  # a stretch of the document, no more
    added = sum(wide.dataset["length"][:]) - sum(bare.dataset["length"][:])
    assert wide.counts["context_pieces"] == added - separators


def check_separators(row, body, marks, separated):
    """At most two, none at an end, and all that has a label between them."""
    assert len(marks) <= 2 * separated
    assert not {0, len(body) - 1} & set(marks)
    own = [place - 1 for place, position in enumerate(row["word_positions"]) if position != IGNORED]
    assert not any(min(own) < mark < max(own) for mark in marks)


@given(case=documents(), context=st.integers(1, 30))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_predictions_come_back_to_the_words_that_they_are_of(bert, case, context):
    sentences, tags, numbers = case
    read = choose_context(context, separated=True, tokenizer=bert)
    wide = encode_tagging(make_split(sentences, tags, numbers), bert, LABELS, max_length=40, stride=8, context=read)
    said = [np.where(np.array(row["labels"]) == IGNORED, 99, row["labels"]) for row in wide.dataset]
    found = collect_word_predictions(said, wide)
    assert [[LABELS[label] for label in row] for row in found.sentences()] == tags


def test_without_context_rows_are_the_same_and_documents_are_not_looked_at(bert):
    sentences = [["Amsterdam", "visited"], ["the", "fox"]]
    tags = [["B-LOC", "O"], ["O", "O"]]
    bare = Dataset.from_dict({"words": sentences, "tags": tags, "line": [0, 0]})
    marked = make_split(sentences, tags, [0, 0])
    encoded = [encode_tagging(split, bert, LABELS, max_length=32) for split in (bare, marked)]
    assert encoded[0].dataset[:] == encoded[1].dataset[:]
    assert encoded[0].counts == encoded[1].counts


def test_both_sides_share_the_room_and_one_may_use_what_the_other_cannot(bert):
    sentences = [["the"] * 6, ["fox"] * 4, ["visited"] * 6]
    split = make_split(sentences, [["O"] * len(words) for words in sentences], [0, 0, 0])
    rows = encode_tagging(split, bert, LABELS, max_length=12, context=DocumentContext(20)).dataset["input_ids"][:]
    the, fox, visited = (bert.convert_tokens_to_ids(word) for word in ("the", "fox", "visited"))
    assert [row[1:-1] for row in rows] == [
        [the] * 6 + [fox] * 4,
        [the] * 3 + [fox] * 4 + [visited] * 3,
        [fox] * 4 + [visited] * 6,
    ]


def test_a_separator_stands_where_another_sentence_begins(bert):
    sentences = [["the"] * 2, ["fox"] * 9, ["visited"] * 2]
    split = make_split(sentences, [["O"] * len(words) for words in sentences], [0, 0, 0])
    read = choose_context(2, separated=True, tokenizer=bert)
    rows = encode_tagging(split, bert, LABELS, max_length=10, context=read).dataset
    the, fox, visited = (bert.convert_tokens_to_ids(word) for word in ("the", "fox", "visited"))
    mark = bert.sep_token_id
    assert [row[1:-1] for row in rows["input_ids"][:]] == [
        [the] * 2 + [mark] + [fox] * 2,
        [fox] * 8,  # no room for the neighbour before it and a separator
        [fox] * 3 + [mark] + [visited] * 2,
        [fox] * 2 + [mark] + [visited] * 2,
    ]
    assert [[place for place in row if place != IGNORED] for row in rows["word_positions"][:]] == [
        [0, 1], list(range(8)), [8], [0, 1],
    ]  # fmt: skip


def test_a_tokenizer_without_a_separator_is_told_of_and_another_token_is_taken_where_there_is_one(bert, caplog):
    class Bare:
        sep_token_id, eos_token_id = None, None

    class Ends(Bare):
        eos_token_id = 7

    assert choose_context(4, separated=True, tokenizer=Ends()) == DocumentContext(4, 7)
    assert not caplog.records
    assert choose_context(4, separated=True, tokenizer=Bare()) == DocumentContext(4)
    assert "nothing stands between a sentence and its neighbours" in caplog.text
    assert choose_context(4, separated=False, tokenizer=bert) == DocumentContext(4)
    assert not choose_context(0, separated=True, tokenizer=bert)


def test_windows_of_a_long_sentence_read_its_own_words_and_those_behind_it(bert):
    sentences = [["the"] * 9, ["fox"] * 2]
    split = make_split(sentences, [["O"] * len(words) for words in sentences], [0, 0])
    encoded = encode_tagging(split, bert, LABELS, max_length=8, context=DocumentContext(2))
    the, fox = (bert.convert_tokens_to_ids(word) for word in ("the", "fox"))
    assert [row[1:-1] for row in encoded.dataset["input_ids"][:]] == [
        [the] * 6,
        [the] * 4 + [fox] * 2,  # three words of its own, one more before it, two behind
        [the] * 2 + [fox] * 2,
    ]
    assert [[place for place in row if place != IGNORED] for row in encoded.dataset["word_positions"][:]] == [
        [0, 1, 2, 3, 4, 5], [6, 7, 8], [0, 1],
    ]  # fmt: skip


def test_sentences_of_a_stretch_alone(bert):
    words = WordEncoder(bert).encode([["the"], ["fox", "visited"], ["Amsterdam"]])
    whole = encode_windows(
        words, bert, max_length=32, context=DocumentContext(8), documents=np.zeros(3, dtype=np.int64)
    )
    part = keep_sentences(whole, 1, 3)
    sides = (part.rows(), whole.rows()[1:])
    kept, expected = ([np.asarray(row["input_ids"]).tolist() for row in side] for side in sides)
    assert kept == expected
    assert part.sentence.tolist() == [0, 1]
    assert part.sentence_lengths.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("lines", "marks", "expected"),
    [([1, 4, 9], [], None), ([1, 4, 9], [1], [1, 1, 1]), ([1, 4, 9], [3, 8], [0, 1, 2]), ([5, 6], [1, 2, 3], [3, 3])],
)
def test_documents_by_the_lines_of_their_marks(lines, marks, expected):
    assert documents_between(lines, marks) == expected


def test_borders_of_documents_and_of_no_sentence():
    first, last = document_borders(np.array([4, 4, 7, 4]), np.array([0, 2, 5, 6, 9]))
    assert (first.tolist(), last.tolist()) == ([0, 0, 5, 6], [5, 5, 6, 9])
    assert [side.tolist() for side in document_borders(np.array([], dtype=int), np.array([0]))] == [[], []]


def test_a_word_longer_than_the_context_is_left_out_whole():
    first, last = surround_windows(
        np.array([1]),
        np.array([2]),
        (np.array([0]), np.array([3])),
        np.array([5, 1, 5]),
        capacity=30,
        context=DocumentContext(4),
    )
    assert (first.tolist(), last.tolist()) == ([1], [2])
