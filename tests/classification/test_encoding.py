from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from transformers import AutoTokenizer, XLNetTokenizer

from finetune.classification.column_choice import ProblemType
from finetune.classification.encoding import encode_classification, encode_labels
from finetune.classification.special_token_template import find_template
from finetune.classification.truncation import LongText
from finetune.encoding.control_tokens import CONTROL_ROLES
from finetune.errors import UsageError

TEXTS = [
    "The quick brown fox",
    "Mr. Smith-Jones visited the European Union's headquarters on Tuesday ! " * 3,
    "สวัสดี ครับ ผม ชื่อ สมชาย",
    "a",
]
PAIRS = ["jumps over the lazy dog in Amsterdam . " * 4, "New York and San Francisco are cities ; " * 3, "b", "c"]


def encode(tokenizer, texts, pairs=None, labels=(), problem_type=ProblemType.SINGLE, **options):
    columns = {"text": texts} | ({"text_pair": pairs} if pairs else {})
    return encode_classification(Dataset.from_dict(columns), tokenizer, labels, problem_type, **options)


def columns_of(encoded, reference) -> list[tuple[list[list[int]], list[list[int]]]]:
    names = [name for name in ("input_ids", "token_type_ids") if name in encoded.dataset.column_names]
    return [(encoded.dataset[name][:], reference[name]) for name in names]


@pytest.mark.parametrize("with_pairs", [False, True])
def test_rows_equal_those_of_the_tokenizer(any_tokenizer, with_pairs: bool) -> None:
    pairs = PAIRS if with_pairs else None
    encoded = encode(any_tokenizer, TEXTS, pairs, max_length=500)
    reference = any_tokenizer(TEXTS, pairs, truncation=False, return_token_type_ids=True)
    assert encoded.counts["texts_too_long"] == 0
    for ours, theirs in columns_of(encoded, reference):
        assert ours == theirs
    assert ("token_type_ids" in encoded.dataset.column_names) == ("token_type_ids" in any_tokenizer.model_input_names)


@pytest.mark.parametrize("max_length", [9, 16, 31])
def test_truncated_rows_equal_those_of_the_tokenizer(any_tokenizer, max_length: int) -> None:
    if not any_tokenizer.is_fast:
        pytest.skip("tokenizers in Python break ties the other way")
    encoded = encode(any_tokenizer, TEXTS, PAIRS, max_length=max_length)
    reference = any_tokenizer(TEXTS, PAIRS, truncation=True, max_length=max_length, return_token_type_ids=True)
    for ours, theirs in columns_of(encoded, reference):
        assert [len(row) for row in ours] == [len(row) for row in theirs]
        differing = sum(a != b for a, b in zip(ours, theirs, strict=True))
        assert differing <= 1  # where both texts are longer than half, the odd subword may go to either
    single = encode(any_tokenizer, TEXTS, max_length=max_length)
    for ours, theirs in columns_of(single, any_tokenizer(TEXTS, truncation=True, max_length=max_length)):
        assert ours == theirs


def test_the_sentences_of_the_course(minilm_folder: Path) -> None:
    """https://huggingface.co/course/chapter3: bert-base-uncased has the same vocabulary as MiniLM."""
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    encoded = encode(tokenizer, ["This is the first sentence."], ["This is the second one."], max_length=128)
    row = encoded.dataset[0]
    assert row["input_ids"] == [101, 2023, 2003, 1996, 2034, 6251, 1012, 102, 2023, 2003, 1996, 2117, 2028, 1012, 102]
    assert row["token_type_ids"] == [0] * 8 + [1] * 7


def test_frame_of_xlnet_stands_behind_the_text() -> None:
    tokenizer = XLNetTokenizer(vocab=[("<unk>", 0.0), ("<sep>", 0.0), ("<cls>", 0.0), ("<pad>", 0.0), ("▁a", -1.0)])
    template = find_template(tokenizer, pairs=True)
    ids = tokenizer("a", "a", return_token_type_ids=True)
    assert ids["input_ids"][-len(template.suffix) :] == template.suffix.tolist()
    assert len(template.prefix) == 0
    encoded = encode(tokenizer, ["a"], ["a"], max_length=16).dataset[0]
    assert encoded["input_ids"] == ids["input_ids"]
    assert ids["token_type_ids"] == [0, *template.middle_types, 1, *template.suffix_types]


def test_long_rows_first_knows_where_they_belong(bert) -> None:
    encoded = encode(bert, TEXTS, max_length=40, by_length=True)
    lengths = encoded.dataset["length"][:]
    assert lengths == sorted(lengths, reverse=True)
    plain = encode(bert, TEXTS, max_length=40).dataset["input_ids"][:]
    for row, example in zip(encoded.dataset["input_ids"][:], encoded.examples, strict=True):
        assert row == plain[example]


def test_windows_repeat_the_label_of_their_text(bert) -> None:
    split = Dataset.from_dict({"text": TEXTS, "label": ["x", "y", "x", "y"]})
    encoded = encode_classification(
        split, bert, ["x", "y"], ProblemType.SINGLE, max_length=12, long_text=LongText.WINDOWS, stride=2
    )
    assert encoded.counts["rows"] == len(encoded.dataset) > 4
    assert encoded.dataset["labels"][:] == [[0, 1, 0, 1][example] for example in encoded.examples]
    assert encoded.counts["pieces_cut"] == 0


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (LongText.TRUNCATE, "they were cut off at the end, "),
        (LongText.HEAD_TAIL, "their middle was left out, "),
        (LongText.WINDOWS, "they were read in windows"),
    ],
)
def test_long_texts_are_reported(bert, caplog: pytest.LogCaptureFixture, how: LongText, words: str) -> None:
    with caplog.at_level(logging.WARNING):
        encoded = encode(bert, TEXTS, max_length=20, long_text=how, stride=2, name="train")
    assert (
        f"train: {encoded.counts['texts_too_long']} of 4 texts are longer than --max_seq_length 20; {words}"
        in caplog.text
    )
    assert 0 < encoded.counts["texts_too_long"] < 4
    assert (encoded.counts["pieces_cut"] > 0) == (how is not LongText.WINDOWS)


def test_nothing_is_said_where_nothing_is_too_long(bert, caplog: pytest.LogCaptureFixture) -> None:
    encode(bert, ["a"], max_length=20)
    assert caplog.text == ""


def test_labels_of_all_kinds() -> None:
    single = encode_labels(Dataset.from_dict({"label": ["b", "a"]}), ["a", "b"], ProblemType.SINGLE)
    assert single.tolist() == [1, 0]
    several = encode_labels(Dataset.from_dict({"label": [["b", "a"], []]}), ["a", "b", "c"], ProblemType.MULTI)
    assert several.tolist() == [[1, 1, 0], [0, 0, 0]]
    values = encode_labels(Dataset.from_dict({"label": [2.5, -100.0]}), [], ProblemType.REGRESSION)
    assert values[0] == 2.5
    assert values[1] == pytest.approx(-100)
    assert values[1] != -100
    bare = Dataset.from_dict({"text": ["x"]})
    assert encode_labels(bare, ["a", "b"], ProblemType.MULTI).tolist() == [[-100, -100]]
    assert encode_labels(bare, ["a"], ProblemType.SINGLE).tolist() == [-100]


def test_decisions_keep_their_shape_in_the_data_set(bert) -> None:
    split = Dataset.from_dict({"text": ["a", "b"], "label": [["x"], ["x", "y"]]})
    encoded = encode_classification(split, bert, ["x", "y"], ProblemType.MULTI, max_length=8)
    assert np.array(encoded.dataset["labels"][:]).tolist() == [[1.0, 0.0], [1.0, 1.0]]


def test_lengths_that_cannot_be_are_refused(bert) -> None:
    with pytest.raises(UsageError, match=r"--max_seq_length 3 leaves no room .*3 special tokens; at least 5"):
        encode(bert, TEXTS, PAIRS, max_length=3)
    with pytest.raises(UsageError, match="--stride 9 does not fit windows of 8 subwords"):
        encode(bert, TEXTS, max_length=10, long_text=LongText.WINDOWS, stride=9)


@pytest.mark.parametrize("with_pairs", [False, True])
def test_control_tokens_stand_only_where_the_template_has_them(any_tokenizer, with_pairs: bool, caplog) -> None:
    """BART and T5 read a text up to its only end token; a second one that a text spells ended them with an error."""
    tokens = sorted({getattr(any_tokenizer, role) for role in CONTROL_ROLES} - {None, any_tokenizer.unk_token})
    texts = [f"The fox {token} jumps{token}" for token in tokens] + ["The fox jumps"]
    with caplog.at_level(logging.WARNING):
        rows = encode(any_tokenizer, texts, texts[::-1] if with_pairs else None, max_length=200).dataset["input_ids"][:]
    counts = {token: {row.count(any_tokenizer.convert_tokens_to_ids(token)) for row in rows} for token in tokens}
    assert all(len(found) == 1 for found in counts.values()), counts
    number = len(tokens) * (2 if with_pairs else 1)
    assert f"{number} texts spell a control token of the tokenizer" in caplog.text or not tokens
