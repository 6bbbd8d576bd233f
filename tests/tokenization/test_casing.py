from __future__ import annotations

import copy
import logging

import pytest
from tokenizers import normalizers
from transformers import AutoTokenizer, DebertaTokenizer, PreTrainedTokenizerFast, T5Tokenizer, XLNetTokenizer

from finetune.errors import UsageError
from finetune.tokenization.casing import lowers_case, set_casing
from tests import tiny
from tests.family_tokenizers import train_byte_level, train_unigram


@pytest.fixture
def uncased(minilm_folder):
    return AutoTokenizer.from_pretrained(minilm_folder)


@pytest.fixture
def cased(minilm_folder):
    return AutoTokenizer.from_pretrained(minilm_folder, do_lower_case=False)


def lower_words(normalizer) -> PreTrainedTokenizerFast:
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
    tokenizer = lower_words(normalizer)
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


FAMILIES = ["bert", "roberta", "roberta_without_prefix", "gpt2", "xlm_roberta", "camembert", "deberta", "t5", "xlnet"]


@pytest.fixture
def family(request, roberta, gpt2, xlm_roberta, camembert, bert, roberta_without_prefix):
    if request.param == "deberta":
        vocab, merges = train_byte_level()
        return DebertaTokenizer(vocab=vocab, merges=merges)
    if request.param in ("t5", "xlnet"):
        return {"t5": T5Tokenizer, "xlnet": XLNetTokenizer}[request.param](vocab=train_unigram())
    return copy.deepcopy(request.getfixturevalue(request.param))


@pytest.mark.parametrize("family", FAMILIES, indirect=True)
def test_every_family_lower_cases_still_when_it_is_loaded_again(family, tmp_path):
    text = "<mask> the DOG is in AMSTERDAM" if family.mask_token == "<mask>" else "the DOG is in AMSTERDAM"
    before = family(text.lower())["input_ids"]
    lowered = set_casing(family, True)
    assert lowered(text)["input_ids"] == lowered(text.lower())["input_ids"] == before
    lowered.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(text)["input_ids"] == before
    for name in ("special_tokens_map", "padding_side", "model_max_length", "model_input_names", "all_special_ids"):
        assert getattr(again, name) == getattr(family, name), name


def test_a_tokenizer_without_a_switch_is_refused(word_level):
    with pytest.raises(UsageError, match="WordLevelTokenizer cannot be made to lower-case; lower-case the text before"):
        set_casing(word_level, True)
