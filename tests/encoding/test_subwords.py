from __future__ import annotations

import pickle

import numpy as np
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast, PythonBackend

from finetune.encoding.subwords import SubwordEncoder, find_starts_by_id, id_dtype, tokenizer_fingerprint
from tests import tiny

TEXTS = ["Don't stop believing, Ångström!", "", "ภาษาไทย unbelievably 中文", "   ", "[MASK] it"]


@pytest.fixture(scope="module")
def wordpiece(minilm_folder):
    return AutoTokenizer.from_pretrained(minilm_folder)


def byte_level() -> PreTrainedTokenizerFast:
    return tiny.byte_level(["don't stop believing the story"] * 5, 400, special=(), eos_token=tiny.END)


class CharacterTokenizer(PythonBackend):
    """One character, one subword; `mark` is put in front of every word."""

    def __init__(self, mark: str = "", **kwargs):
        self.mark = mark
        alphabet = [chr(code) for code in range(33, 127)]
        tokens = ["<unk>", "<s>", *alphabet, *([mark + letter for letter in alphabet] if mark else [])]
        self.vocabulary = {token: index for index, token in enumerate(tokens)}
        super().__init__(unk_token="<unk>", bos_token="<s>", mark=mark, **kwargs)

    @property
    def vocab_size(self):
        return len(self.vocabulary)

    def get_vocab(self):
        return {**self.vocabulary, **self.added_tokens_encoder}

    def _tokenize(self, text, **kwargs):
        return [subword for word in text.split() for subword in [self.mark + word[0], *word[1:]]]

    def _convert_token_to_id(self, token):
        return self.vocabulary.get(token, 0)

    def _convert_id_to_token(self, index):
        return list(self.vocabulary)[index]


def rows(subwords):
    return [row.tolist() for row in np.split(subwords.ids, np.cumsum(subwords.lengths)[:-1])]


@pytest.mark.parametrize("make", ["wordpiece", byte_level, CharacterTokenizer])
def test_ids_are_those_of_the_tokenizer_itself(make, request):
    tokenizer = request.getfixturevalue(make) if isinstance(make, str) else make()
    encoder = SubwordEncoder(tokenizer)
    assert rows(encoder.encode(TEXTS)) == tokenizer(TEXTS, add_special_tokens=False)["input_ids"]
    again = pickle.loads(pickle.dumps(encoder))
    assert rows(again.encode(TEXTS)) == rows(encoder.encode(TEXTS))
    assert encoder.encode(TEXTS).ids.dtype == np.uint16


def test_truncation_and_padding_of_the_tokenizer_are_left_out(minilm_folder):
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    before = SubwordEncoder(tokenizer)
    tokenizer(["a b c d e", "a"], truncation=True, max_length=3, padding=True)
    after = SubwordEncoder(tokenizer)
    assert after.encode(["word " * 600]).lengths.tolist() == [600]
    assert after.fingerprint == before.fingerprint


@pytest.mark.parametrize("make", ["wordpiece", byte_level])
def test_word_starts_are_the_word_ids_of_the_tokenizer(make, request):
    tokenizer = request.getfixturevalue(make) if isinstance(make, str) else make()
    subwords = SubwordEncoder(tokenizer, words=True).encode(TEXTS)
    expected = []
    for encoding in tokenizer(TEXTS, add_special_tokens=False).encodings:
        words = encoding.word_ids
        expected += [not i or words[i] is None or words[i] != words[i - 1] for i in range(len(words))]
    assert subwords.word_starts.tolist() == expected
    assert not all(expected)


def test_python_tokenizers_begin_words_at_their_marks_or_everywhere():
    marked = SubwordEncoder(CharacterTokenizer(mark="▁"), words=True).encode(["ab c", "d"])
    assert marked.word_starts.tolist() == [True, False, True, True]
    plain = SubwordEncoder(CharacterTokenizer(), words=True).encode(["ab c", "d"])
    assert plain.word_starts.all()


def test_no_texts_give_no_pieces(wordpiece):
    subwords = SubwordEncoder(wordpiece, words=True).encode([])
    assert len(subwords.ids) == len(subwords.lengths) == len(subwords.word_starts) == 0


def test_fingerprint_tells_casing_and_vocabulary_apart(minilm_folder, wordpiece):
    cased = AutoTokenizer.from_pretrained(minilm_folder, do_lower_case=False)
    same = AutoTokenizer.from_pretrained(minilm_folder)
    grown = AutoTokenizer.from_pretrained(minilm_folder)
    grown.add_tokens(["<_>"])
    prints = [tokenizer_fingerprint(item) for item in (wordpiece, same, cased, grown)]
    assert prints[0] == prints[1] and len(set(prints)) == 3
    assert tokenizer_fingerprint(CharacterTokenizer()) == tokenizer_fingerprint(CharacterTokenizer())
    assert tokenizer_fingerprint(CharacterTokenizer()) != tokenizer_fingerprint(CharacterTokenizer(mark="▁"))


def test_small_vocabularies_take_two_bytes_an_id():
    assert id_dtype(65536) is np.uint16 and id_dtype(65537) is np.uint32


def test_rust_tokenizers_that_are_not_wordpiece_need_their_word_ids(wordpiece):
    assert find_starts_by_id(byte_level(), is_rust=True) is None
    starts = find_starts_by_id(wordpiece, is_rust=True)
    assert starts.sum() == sum(not token.startswith("##") for token in wordpiece.get_vocab())
