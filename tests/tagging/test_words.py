from __future__ import annotations

import logging

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.tagging.words import WordEncoder

SENTENCES = [
    ["The", "quick", "brown", "fox", ",", "Smith-Jones", "'s", "don't"],
    ["สมชาย", "อยู่", "กรุงเทพมหานคร", "สวัสดีครับ"],
    ["Straßen", "ÄRZTE", "über", "xylophone", "...", "3.14", "😀"],
    ["The", "The", "the"],
]
words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=12
)


def flat(encoded):
    return [[index for word in sentence for index in word] for sentence in encoded.rows()]


def library(tokenizer, sentences):
    return tokenizer(sentences, is_split_into_words=True, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm_roberta", "camembert", "word_level"])
def test_ids_are_those_of_the_library(name, request):
    tokenizer = request.getfixturevalue(name)
    assert flat(WordEncoder(tokenizer).encode(SENTENCES)) == library(tokenizer, SENTENCES)


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm_roberta", "camembert"])
@given(sentence=st.lists(words, min_size=1, max_size=6))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_ids_of_any_words_are_those_of_the_library(name, request, sentence):
    tokenizer = request.getfixturevalue(name)
    encoder = WordEncoder(tokenizer)
    encoded = encoder.encode([sentence])
    control = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    expected = library(tokenizer, [sentence])[0]
    if not encoded.words_without_pieces and not control.intersection(expected):
        assert flat(encoded)[0] == expected


def test_word_ids_are_those_of_the_library(bert):
    sentence = ["quick", "Smith-Jones", "\ufeff", "Amsterdam"]
    ids = bert([sentence], is_split_into_words=True, add_special_tokens=False)
    by_word = [[i for i, word in zip(ids["input_ids"][0], ids.word_ids(0), strict=True) if word == w] for w in range(4)]
    by_word[2] = [bert.unk_token_id]  # the library drops the word: here it keeps its place
    assert WordEncoder(bert).encode([sentence]).rows() == [by_word]


def test_byte_level_words_begin_with_a_space_whatever_the_tokenizer_was_saved_with(
    roberta, roberta_without_prefix, gpt2
):
    expected = library(roberta, SENTENCES)
    assert flat(WordEncoder(roberta_without_prefix).encode(SENTENCES)) == expected
    assert flat(WordEncoder(gpt2).encode(SENTENCES)) == expected


def test_each_distinct_word_is_tokenized_once_over_all_calls(word_level):
    encoder = WordEncoder(word_level)
    first = encoder.encode(SENTENCES).rows()
    second = encoder.encode([*SENTENCES, ["fox", "new"]]).rows()
    assert second[:-1] == first
    assert sorted(word_level.calls) == sorted({word for sentence in SENTENCES for word in sentence} | {"new"})


def test_truncation_and_padding_saved_with_a_tokenizer_do_not_matter(minilm_folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    assert tokenizer.backend_tokenizer.truncation is not None
    sentence = ["word"] * 2000 + [f"w{i}" for i in range(600)]
    encoded = WordEncoder(tokenizer).encode([sentence])
    assert len(encoded.word_offsets) == 2601
    assert encoded.rows()[0][:3] == [tokenizer.convert_tokens_to_ids(["word"])] * 3


def test_arrow_columns_and_lists_encode_alike(any_tokenizer):
    column = pa.chunked_array([pa.array(SENTENCES[:2]), pa.array(SENTENCES[2:])])
    encoder = WordEncoder(any_tokenizer)
    assert encoder.encode(column).rows() == encoder.encode(SENTENCES).rows()


def test_empty_sentences_and_no_sentences(any_tokenizer):
    encoder = WordEncoder(any_tokenizer)
    assert encoder.encode([]).rows() == []
    assert encoder.encode([[], ["fox"], []]).rows()[::2] == [[], []]


def test_words_without_pieces_keep_their_place_and_are_counted(any_tokenizer):
    encoder = WordEncoder(any_tokenizer)
    encoded = encoder.encode([["fox", "", "dog"], ["", "fox"]])
    assert encoded.rows()[0][1] == encoded.rows()[1][0] == [any_tokenizer.unk_token_id]
    assert encoded.words_without_pieces == encoder.words_without_pieces == 2
    encoder.encode([[""]])
    assert encoder.words_without_pieces == 3


def test_words_that_spell_control_tokens_are_text(any_tokenizer):
    control = {any_tokenizer.bos_token, any_tokenizer.eos_token, any_tokenizer.sep_token, any_tokenizer.pad_token}
    control |= {any_tokenizer.mask_token, any_tokenizer.cls_token}
    control -= {None}
    sentence = ["fox", *sorted(control), *("ab" + token + "cd" for token in sorted(control))]
    encoder = WordEncoder(any_tokenizer)
    encoded = encoder.encode([sentence, sentence])
    rows = encoded.rows()[0]
    forbidden = set(any_tokenizer.convert_tokens_to_ids(sorted(control))) - {any_tokenizer.unk_token_id}
    assert not forbidden.intersection(index for word in rows for index in word)
    assert all(rows) and len(rows) == len(sentence)
    assert encoded.control_words == 2 * 2 * len(control)
    assert rows[0] == WordEncoder(any_tokenizer).encode([["fox"]]).rows()[0][0]


def test_end_of_text_that_is_also_the_unknown_token_is_text_where_spelt(gpt2):
    assert gpt2.unk_token_id == gpt2.eos_token_id
    assert gpt2.eos_token_id not in WordEncoder(gpt2).encode([["<|endoftext|>"]]).rows()[0][0]


@pytest.mark.parametrize("name", ["camembert", "word_level"])
def test_spaces_become_the_space_token_with_its_own_id(name, request):
    tokenizer = request.getfixturevalue(name)
    space = tokenizer.convert_tokens_to_ids("<_>")
    assert space != tokenizer.unk_token_id
    encoder = WordEncoder(tokenizer, space_token="<_>")
    [[fox], [dog]] = WordEncoder(tokenizer).encode([["fox"], ["dog"]]).rows()
    rows = encoder.encode([[" ", "<_>", "fox dog", "  ", " fox"]]).rows()[0]
    assert rows == [[space], [space], [*fox, space, *dog], [space, space], [space, *fox]]
    assert encoder.words_without_pieces == 0


def test_an_added_space_token_is_one_piece(bert):
    from copy import deepcopy

    tokenizer = deepcopy(bert)
    tokenizer.add_tokens(["<_>"])
    assert WordEncoder(tokenizer, space_token="<_>").encode([[" ", "fox"]]).rows()[0][0] == [len(tokenizer) - 1]


def test_a_space_token_that_the_vocabulary_lacks_is_said(bert, caplog):
    with caplog.at_level(logging.WARNING):
        encoder = WordEncoder(bert, space_token="<_>")
    assert "'<_>' is not in the vocabulary" in caplog.text
    assert encoder.encode([[" "]]).rows() == WordEncoder(bert).encode([["<_>"]]).rows()


def test_a_space_as_space_token_changes_nothing(bert):
    encoder = WordEncoder(bert, space_token=" ")
    assert encoder.encode([["new york", " "]]).rows()[0][1] == [bert.unk_token_id]
    assert encoder.words_without_pieces == 1


def test_lowercase_comes_before_the_space_token(camembert):
    encoder = WordEncoder(camembert, lowercase=True, space_token="<_>")
    assert encoder.encode([["FOX Dog"]]).rows() == encoder.encode([["fox dog"]]).rows()
    assert WordEncoder(camembert).encode([["FOX"]]).rows() != encoder.encode([["FOX"]]).rows()


def test_a_pre_tokenizer_written_in_python_is_no_obstacle():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    class Letters:
        def pre_tokenize(self, text):
            text.split(lambda _, part: [part[k : k + 1] for k in range(len(str(part)))])

    model = models.WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), unk_token="[UNK]")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(Letters())
    assert WordEncoder(tokenizer).encode([["ab", "c"]]).rows() == [[[0, 1], [2]]]


@pytest.mark.parametrize(
    "design", ["byte level", "split first (Qwen2, Llama 3)", "punctuation first (Falcon)"], ids=lambda name: name[:5]
)
def test_a_word_is_encoded_as_in_the_middle_of_a_text(design, tmp_path):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from finetune.tokenization.loading import load_auto

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not design.startswith("split"))
    before = {
        "split": [pre_tokenizers.Split(Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"), "isolated")],
        "punct": [pre_tokenizers.Punctuation("contiguous")],
    }.get(design[:5], [])
    rust = Tokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.Sequence([*before, byte_level]) if before else byte_level
    rust.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    rust.train_from_iterator([" ".join(sentence) for sentence in SENTENCES] * 5, trainer)
    PreTrainedTokenizerFast(tokenizer_object=rust, eos_token="<end>", unk_token="<end>").save_pretrained(tmp_path)
    raw, tokenizer = load_auto(str(tmp_path), {}), load_auto(str(tmp_path), {}, add_prefix_space=True)
    encoder = WordEncoder(tokenizer)
    for word in ("18th", "don't", "3.14", "e-mail", "(U.S.)", "fox", "a1b2c3"):
        inside = raw(f"x {word}", add_special_tokens=False)["input_ids"][len(raw("x")["input_ids"]) :]
        assert encoder.encode([[word]]).rows()[0][0] == inside, word
