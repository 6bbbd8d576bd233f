"""Texts and labels as ids: begin-of-text for causal models, aligned labels for masked ones, padding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors
from transformers import AutoTokenizer

from finetune.errors import DataError
from finetune.lm_experiments.encoding import encode_annotated, encode_windows, pad_rows
from tests.tiny import word_level


@pytest.fixture
def causal():
    return word_level(["<end>", *"abc"], bos_token="<end>", eos_token="<end>", unk_token="<end>")


def test_a_causal_text_starts_with_the_begin_token_once(causal, caplog):
    rows = encode_annotated(["a b", "<end> c"], ["ignored", "too"], causal, task="lm", max_length=10)
    assert rows == [{"input_ids": [0, 1, 2]}, {"input_ids": [0, 3]}]
    batch = pad_rows(rows, causal)
    assert batch["input_ids"].tolist() == [[0, 1, 2], [0, 3, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert "1 texts brought a begin-of-text token of their own" in caplog.text
    caplog.clear()
    encode_annotated(["a b"], None, causal, task="lm", max_length=10)
    assert "begin-of-text" not in caplog.text


def test_labels_of_masked_texts_align(minilm_folder):
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    rows = encode_annotated(["the [MASK] sleeps"], ["the cat sleeps"], tokenizer, task="mlm", max_length=64)
    assert tokenizer.decode(rows[0]["labels"]) == "[CLS] the cat sleeps [SEP]"
    assert tokenizer.decode(rows[0]["input_ids"]) == "[CLS] the [MASK] sleeps [SEP]"
    with pytest.raises(DataError, match="example 1 has 5 tokens, its labels 4"):
        encode_annotated(["the [MASK] sleeps"], ["the cat"], tokenizer, task="mlm", max_length=64)


def test_labels_of_an_encoder_decoder_have_their_own_length(causal, caplog):
    rows = encode_annotated(["a b c", "a"], ["b", "c c"], causal, task="seq2seq", max_length=2)
    assert rows == [{"input_ids": [1, 2], "labels": [2]}, {"input_ids": [1], "labels": [3, 3]}]
    assert pad_rows(rows, causal)["labels"].tolist() == [[2, -100], [3, 3]]
    assert "1 of 2 texts are longer than 2 tokens" in caplog.text


TASKS = {"lm": None, "mlm": None, "seq2seq": ["c b a", "a"]}


@pytest.fixture
def surrounded():
    tokenizer = word_level(
        ["<s>", "</s>", "<mask>", "<unk>", *"abcdefghij"],
        bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>", unk_token="<unk>", mask_token="<mask>",
    )  # fmt: skip
    template = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer.backend_tokenizer.post_processor = template
    return tokenizer


@pytest.mark.parametrize("task", TASKS)
def test_what_is_cut_keeps_its_special_tokens(task, surrounded, caplog):
    """As the tokenizer itself cuts."""
    texts = ["a b c d e f", "a b"]
    rows = encode_annotated(texts, TASKS[task], surrounded, task=task, max_length=4)
    expected = surrounded(texts, truncation=True, max_length=4)["input_ids"]
    assert [row["input_ids"] for row in rows] == expected
    if task == "seq2seq":
        assert rows[0]["labels"] == surrounded("c b a", truncation=True, max_length=4)["input_ids"]
    assert "1 of 2 texts are longer than 4 tokens" in caplog.text


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    width=st.integers(4, 12),
    task=st.sampled_from(["lm", "mlm"]),
)
def test_windows_predict_each_token_once_with_half_a_window_before_it(sizes, width, task):
    tokenizer = word_level(["<s>", "<unk>", *map(str, range(30))], bos_token="<s>", unk_token="<unk>")
    texts = [" ".join(map(str, range(size))) for size in sizes]
    rows, places, _ = encode_windows(texts, None, tokenizer, task=task, max_length=width)
    start = int(task == "lm")
    for number, size in enumerate(sizes):
        own = [row for row, place in zip(rows, places, strict=True) if place == number]
        predicted = [
            i
            for row in own
            for i, mark in zip(row["input_ids"][start:], row["context"][start:], strict=True)
            if not mark
        ]
        assert predicted == [2 + index for index in range(size)]
        assert all(len(row["input_ids"]) <= width for row in own)
        assert all(sum(row["context"]) >= (width - start) // 2 for row in own[1:])
