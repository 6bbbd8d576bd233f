from __future__ import annotations

import logging

import pytest
from tokenizers import normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from finetune.tokenization.casing import lowers_case, set_casing
from tests import tiny


@pytest.fixture
def uncased(minilm_folder):
    return AutoTokenizer.from_pretrained(minilm_folder)


@pytest.fixture
def cased(minilm_folder):
    return AutoTokenizer.from_pretrained(minilm_folder, do_lower_case=False)


def word_level(normalizer) -> PreTrainedTokenizerFast:
    tokenizer = tiny.word_level(["[UNK]", "hello", "world", "HELLO"], unk_token="[UNK]")
    tokenizer.backend_tokenizer.normalizer = normalizer
    return tokenizer


def test_lower_casing_is_seen_in_the_pieces(uncased, cased):
    assert lowers_case(uncased) and not lowers_case(cased)


def test_cased_wordpiece_becomes_the_uncased_one_and_stays_so(uncased, cased, tmp_path):
    text = "Ångström WENT home"
    set_casing(cased, True)
    assert cased.tokenize(text) == uncased.tokenize(text)
    cased.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).tokenize(text) == uncased.tokenize(text)


@pytest.mark.parametrize("normalizer", [None, normalizers.NFC()])
def test_any_other_tokenizer_lower_cases_too(normalizer, tmp_path):
    tokenizer = word_level(normalizer)
    assert tokenizer.tokenize("HELLO World") == ["HELLO", "[UNK]"]
    set_casing(tokenizer, True)
    assert tokenizer.tokenize("HELLO World") == ["hello", "world"]
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).tokenize("HELLO World") == ["hello", "world"]


def test_without_the_flag_nothing_changes_and_an_uncased_tokenizer_is_said(uncased, cased, caplog):
    before = cased.tokenize("Hello World")
    set_casing(cased, False)
    assert cased.tokenize("Hello World") == before and not caplog.messages
    with caplog.at_level(logging.WARNING):
        set_casing(uncased, False)
    assert "lower-cases the text by itself" in caplog.text
