from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast, PythonBackend

from finetune.encoding.control_tokens import CONTROL_ROLES
from finetune.encoding.subwords import SubwordEncoder, find_starts_by_id, id_dtype, tokenizer_fingerprint
from tests import tiny

TEXTS = ["Don't stop believing, Ångström!", "", "ภาษาไทย unbelievably 中文", "   ", "it"]


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


@st.composite
def texts_with_control_tokens(draw, tokens):
    """Texts of words and spelled control tokens, with and without spaces between them."""
    parts = draw(st.lists(st.sampled_from([*tokens, "fox", "dog.", "a", "กรุงเทพ"]), min_size=1, max_size=6))
    return draw(st.sampled_from(["", " "])).join(parts)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_control_tokens_in_texts_are_text(any_tokenizer, data):
    tokens = sorted({getattr(any_tokenizer, role) for role in CONTROL_ROLES} - {None})
    texts = data.draw(st.lists(texts_with_control_tokens(tokens), min_size=1, max_size=4))
    subwords = SubwordEncoder(any_tokenizer).encode(texts)
    forbidden = set(any_tokenizer.convert_tokens_to_ids(tokens)) - {any_tokenizer.unk_token_id}
    assert not forbidden.intersection(subwords.ids.tolist())
    assert subwords.control_texts == sum(any(token in text for token in tokens) for text in texts)
    plain = [text for text in texts if not any(token in text for token in tokens)]
    assert (
        rows(SubwordEncoder(any_tokenizer).encode([*plain, "a"]))
        == (any_tokenizer([*plain, "a"], add_special_tokens=False)["input_ids"])
    )


@pytest.mark.parametrize("spelled", ["</s>", "<s>", "<mask>", "<pad>"])
def test_a_sentencepiece_model_spells_its_control_tokens_by_letters(xlm_roberta, spelled):
    """Unigram's vocabulary holds `</s>` with the best score of all, so no pre-tokenizer could keep it away."""
    text = f"fox {spelled} dog"
    ids = SubwordEncoder(xlm_roberta).encode([text]).ids.tolist()
    alphabet = set("".join(xlm_roberta.get_vocab()))
    expected = "".join(letter if letter in alphabet and letter not in "<>" else "" for letter in text)
    decoded = xlm_roberta.decode(ids, skip_special_tokens=True)
    assert [letter for letter in decoded if letter in expected] == [letter for letter in expected if letter in decoded]
    assert xlm_roberta.convert_tokens_to_ids(spelled) not in ids and len(ids) > 3


def test_tokens_kept_on_purpose_stay_tokens(wordpiece):
    encoder = SubwordEncoder(wordpiece, kept=("[MASK]",))
    subwords = encoder.encode(["a [MASK] [SEP]"])
    assert subwords.ids.tolist().count(wordpiece.mask_token_id) == 1
    assert wordpiece.sep_token_id not in subwords.ids and subwords.control_texts == 1


def test_merges_that_make_a_control_token_go_with_it():
    """Conversions of SentencePiece models list every way to make a subword, control tokens included."""
    vocabulary = {"<s>": 0, "</s>": 1, "<unk>": 2, "<": 3, "s": 4, ">": 5, "s>": 6, "a": 7}
    merges = [("s", ">"), ("<", "s>")]
    rust = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rust, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    assert SubwordEncoder(tokenizer).encode(["a<s>a", "<s"]).ids.tolist() == [7, 3, 6, 7, 3, 4]
