from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.errors import DataError, UsageError
from finetune.tagging.encoding import IGNORED, encode_tagging, tag_problems
from finetune.tagging.word_predictions import collect_word_predictions
from finetune.tagging.words import WordEncoder

LABELS = ["B-LOC", "B-PER", "I-LOC", "O"]
WORDS = ["Amsterdam", "Smith-Jones", "the", "fox", "\ufeff", "กรุงเทพมหานคร", "headquarters", "visited"]


def make_split(sentences, tags=None):
    columns = {"words": sentences, "line": [10 * i + 1 for i in range(len(sentences))]}
    return Dataset.from_dict(columns if tags is None else dict(columns, tags=tags))


@st.composite
def labelled(draw):
    sentences = draw(st.lists(st.lists(st.sampled_from(WORDS), max_size=30), min_size=1, max_size=5))
    return sentences, [[draw(st.sampled_from(LABELS)) for _ in sentence] for sentence in sentences]


def test_a_sentence_becomes_what_the_library_makes_of_it(any_tokenizer):
    words, tags = ["Smith-Jones", "visited", "Amsterdam"], ["B-PER", "O", "B-LOC"]
    encoded = encode_tagging(make_split([words], [tags]), any_tokenizer, LABELS, max_length=64)
    expected = any_tokenizer(words, is_split_into_words=True)
    if any_tokenizer.name_or_path != "gpt2" and any_tokenizer.num_special_tokens_to_add():
        assert encoded.dataset[0]["input_ids"] == expected["input_ids"]
    assert ("token_type_ids" in encoded.dataset.column_names) == ("token_type_ids" in expected)
    assert encoded.dataset[0]["length"] == len(encoded.dataset[0]["input_ids"])
    row = encoded.dataset[0]
    assert [label for label in row["labels"] if label != IGNORED] == [LABELS.index(tag) for tag in tags]
    assert [word for word in row["word_positions"] if word != IGNORED] == [0, 1, 2]


def test_first_pieces_all_pieces_and_continued_entities(bert):
    split = make_split([["Smith-Jones", "Amsterdamers", "fox"]], [["B-PER", "B-LOC", "O"]])
    lengths = [len(word) for word in WordEncoder(bert).encode(split["words"]).rows()[0]]
    assert lengths[0] > 1 and lengths[1] > 1
    person, place, inside, outside = (LABELS.index(name) for name in ("B-PER", "B-LOC", "I-LOC", "O"))

    def labels(**options):
        return encode_tagging(split, bert, LABELS, max_length=64, **options).dataset[0]["labels"][1:-1]

    def rest(label, index):
        return [label] * (lengths[index] - 1)

    assert labels() == [person, *rest(IGNORED, 0), place, *rest(IGNORED, 1), outside, *rest(IGNORED, 2)]
    assert labels(label_all_tokens=True) == [
        *[person, *rest(person, 0)],
        *[place, *rest(place, 1)],
        *[outside, *rest(outside, 2)],
    ]
    assert labels(label_all_tokens=True, continue_labels=True) == [
        *[person, *rest(person, 0)],  # there is no I-PER
        *[place, *rest(inside, 1)],
        *[outside, *rest(outside, 2)],
    ]


@given(case=labelled(), max_length=st.integers(5, 40), share=st.floats(0, 0.99), all_tokens=st.booleans())
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_word_is_trained_and_decided_exactly_once(bert, case, max_length, share, all_tokens):
    sentences, tags = case
    stride = int(share * (max_length - 2))
    encoded = encode_tagging(
        make_split(sentences, tags), bert, LABELS, max_length=max_length, stride=stride, label_all_tokens=all_tokens
    )
    lengths = [[min(len(word), max_length - 2) for word in row] for row in WordEncoder(bert).encode(sentences).rows()]
    decided = []
    trained = 0
    for row in encoded.dataset:
        assert len(row["input_ids"]) == len(row["labels"]) == len(row["word_positions"]) <= max_length
        assert (row["input_ids"][0], row["input_ids"][-1]) == (bert.cls_token_id, bert.sep_token_id)
        trained += sum(label != IGNORED for label in row["labels"])
        for label, position in zip(row["labels"], row["word_positions"], strict=True):
            if position != IGNORED:
                decided.append((row["sentence"], position))
                assert LABELS[label] == tags[row["sentence"]][position]
    assert sorted(decided) == [(s, w) for s, sentence in enumerate(sentences) for w in range(len(sentence))]
    assert trained == (sum(map(sum, lengths)) if all_tokens else len(decided))
    assert encoded.counts["words"] == len(decided)


@given(case=labelled(), max_length=st.integers(5, 40), side=st.sampled_from(["left", "right"]), batch=st.integers(1, 4))
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_predictions_come_back_in_the_order_of_the_words(bert, case, max_length, side, batch):
    sentences, tags = case
    encoded = encode_tagging(make_split(sentences, tags), bert, LABELS, max_length=max_length, stride=2)
    rows = [np.maximum(np.array(row), 0) for row in encoded.dataset["labels"]]
    width = max((len(row) for row in rows), default=0)
    padded = np.full((len(rows), width + 1), IGNORED)
    for start in range(0, len(rows), batch):  # as the Trainer does: each batch is padded, then all are, on the right
        longest = max(len(row) for row in rows[start : start + batch])
        for index, row in enumerate(rows[start : start + batch], start):
            shift = longest - len(row) if side == "left" else 0
            padded[index, shift : shift + len(row)] = row
            padded[index, :shift] = 3
    expected = [[LABELS.index(tag) for tag in sentence] for sentence in tags]
    logits = np.where(padded[..., None] == IGNORED, IGNORED, np.eye(4)[np.maximum(padded, 0)])
    for predictions in (padded, logits):
        collected = collect_word_predictions(predictions, encoded, padding_side=side)
        labels = collected.values if predictions is padded else collected.values.argmax(-1)
        assert np.split(labels, collected.offsets[1:-1])[0].tolist() == expected[0]
        assert labels.tolist() == [label for sentence in expected for label in sentence]
    assert [row.tolist() for row in collect_word_predictions(rows, encoded).sentences()] == expected


def test_predictions_of_other_rows_are_refused(bert):
    encoded = encode_tagging(make_split([["fox"], ["dog"]]), bert, LABELS, max_length=16)
    with pytest.raises(ValueError, match="3 rows of predictions for 2 encoded rows"):
        collect_word_predictions(np.zeros((3, 9)), encoded)
    with pytest.raises(ValueError, match="row 0 has 2 predictions for 3 subwords"):
        collect_word_predictions(np.zeros((2, 2)), encoded)


def test_two_thousand_words_in_one_sentence(bert):
    words = [WORDS[i % len(WORDS)] for i in range(2000)]
    encoded = encode_tagging(make_split([words], [["O"] * 2000]), bert, LABELS, max_length=128, stride=32)
    assert encoded.counts["sentences_windowed"] == 1 and encoded.counts["windows"] > 15
    assert collect_word_predictions(np.zeros((len(encoded.dataset), 128)), encoded).values.shape == (2000,)


def test_an_unlabelled_split_has_places_but_no_labels(bert):
    encoded = encode_tagging(make_split([["fox", "Amsterdam"]]), bert, LABELS, max_length=16)
    assert set(encoded.dataset[0]["labels"]) == {IGNORED}
    assert [position for position in encoded.dataset[0]["word_positions"] if position != IGNORED] == [0, 1]


def test_a_selected_split_encodes_the_selected_rows(bert):
    split = make_split([["fox"], ["dog"], ["the"]], [["O"], ["B-PER"], ["B-LOC"]]).select([2, 0])
    encoded = encode_tagging(split, bert, LABELS, max_length=16)
    assert [row[1] for row in encoded.dataset["labels"]] == [LABELS.index("B-LOC"), LABELS.index("O")]


def test_losses_are_counted_and_said(bert, caplog):
    split = make_split([["x" * 40, "\ufeff", "fox"], ["the"] * 30])
    with caplog.at_level(logging.INFO):
        encoded = encode_tagging(split, bert, LABELS, max_length=12, stride=2, name="validation")
    counts = encoded.counts
    assert (counts["words_without_pieces"], counts["words_cut"], counts["sentences_windowed"]) == (1, 1, 2)
    assert counts["pieces_cut"] == len(WordEncoder(bert).encode([["x" * 40]]).ids) - 10
    assert "validation: 2 sentences are longer than --max_length 12" in caplog.text
    assert "validation: 1 of 33 words have no subwords" in caplog.text
    assert "validation: 1 words are longer than a whole window" in caplog.text
    assert [record.message for record in caplog.records] == encoded.notes


def test_unknown_tags_are_all_named_with_place_and_nearest(bert):
    split = make_split([["fox"], ["dog", "the"]], [["O"], ["B-PRE", "X"]])
    with pytest.raises(DataError) as error:
        encode_tagging(split, bert, LABELS, max_length=16, name="validation", files=[Path("dev.txt")])
    first, second = map(str, error.value.problems)
    assert first.startswith("dev.txt:11: the tag 'B-PRE' occurs in validation (once), but the label list lacks it")
    assert "the nearest known tag is 'B-PER'" in first and "'X'" in second
    assert tag_problems(make_split([["fox"]]), LABELS) == []


@pytest.mark.parametrize(("options", "sentence"), [
    ({"max_length": 2}, "--max_length 2 leaves no room for words beside 2 special tokens"),
    ({"max_length": 12, "stride": 10}, "--stride 10 does not fit windows of 10 subwords"),
])  # fmt: skip
def test_lengths_that_cannot_work_are_refused(bert, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        encode_tagging(make_split([["fox"]]), bert, LABELS, **options)


def test_a_split_without_rows(bert):
    split = make_split([["fox"]], [["O"]]).select([])
    encoded = encode_tagging(split, bert, LABELS, max_length=16)
    assert len(encoded.dataset) == 0 and encoded.counts["words"] == 0
    assert collect_word_predictions(np.zeros((0, 5)), encoded).sentences() == []


def test_each_distinct_word_of_a_real_corpus_is_tokenized_once(minilm_folder, shared_data, monkeypatch):
    """What makes encoding fast (the benchmark measures it), and that it gives the library's own rows."""
    import gzip
    import re

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    text = gzip.decompress((shared_data / "wnut17" / "wnut17train.conll.gz").read_bytes()).decode("utf-8")
    rows = [[line.split("\t")[0] for line in block.split("\n") if line.strip()] for block in re.split(r"\n\t?\n", text)]
    sentences = [words for words in rows if words]
    expected = tokenizer(sentences, is_split_into_words=True)["input_ids"]
    seen: list[str] = []
    tokenize = WordEncoder._tokenize
    monkeypatch.setattr(
        WordEncoder, "_tokenize", lambda self, texts, *rest: seen.extend(texts) or tokenize(self, texts, *rest)
    )
    encoded = encode_tagging(make_split(sentences), tokenizer, LABELS, max_length=10_000)
    assert encoded.dataset["input_ids"][:] == expected
    assert sorted(seen) == sorted({word for words in sentences for word in words})
