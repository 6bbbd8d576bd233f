"""Texts and labels as ids: begin-of-text for causal models, aligned labels for masked ones, padding."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from finetune.errors import DataError
from finetune.lm_experiments.encoding import encode_annotated, pad_rows
from tests.tiny import word_level


@pytest.fixture
def causal():
    return word_level(["<end>", *"abc"], bos_token="<end>", eos_token="<end>", unk_token="<end>")


def test_a_causal_text_starts_with_the_begin_token_once(causal):
    rows = encode_annotated(["a b", "<end> c"], ["ignored", "too"], causal, task="lm", max_length=10)
    assert rows == [{"input_ids": [0, 1, 2]}, {"input_ids": [0, 3]}]
    batch = pad_rows(rows, causal)
    assert batch["input_ids"].tolist() == [[0, 1, 2], [0, 3, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


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
