"""Words in sequences of subwords, for each family of tokenizers."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from finetune.surprisal.word_borders import BorderStyle, find_word_borders

LINES = ["the dog runs home", "dogs run, the cat sleeps", "unbelievable homes", "a\nnew  line"] * 5


def train_bpe(*, byte_level: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token=None if byte_level else "<unk>"))
    if byte_level:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=330 if byte_level else 60,
        special_tokens=["<unk>", "<eos>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if byte_level else [],
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>", mask_token="<mask>"
    )


@pytest.fixture(scope="module")
def byte_level():
    return train_bpe(byte_level=True)


@pytest.fixture(scope="module")
def metaspace():
    return train_bpe(byte_level=False)


@pytest.fixture(scope="module")
def wordpiece(tiny_bert):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_bert)


def words_of(tokenizer, text: str) -> list[list[str]]:
    """Subwords grouped by the borders found."""
    ids = np.array(tokenizer(text, add_special_tokens=False)["input_ids"])
    starts = find_word_borders(tokenizer).find_starts(ids, np.array([len(ids)]))
    groups = np.split(ids, np.flatnonzero(starts)[1:])
    return [tokenizer.convert_ids_to_tokens(group.tolist()) for group in groups]


def test_byte_level_words_are_separated_by_white_space(byte_level):
    assert find_word_borders(byte_level).style is BorderStyle.START
    assert ["".join(word) for word in words_of(byte_level, "the dog runs, a cat.")] == [
        "the",
        "Ġdog",
        "Ġruns,",
        "Ġa",
        "Ġcat.",
    ]


def test_blank_pieces_belong_to_the_word_after_them(byte_level):
    assert ["".join(word) for word in words_of(byte_level, "a\nnew  line")] == ["a", "Ċnew", "ĠĠline"]


def test_sentencepiece_words(metaspace):
    borders = find_word_borders(metaspace)
    assert borders.style is BorderStyle.START
    assert ["".join(word) for word in words_of(metaspace, "the dogs  run home")] == ["▁the", "▁dogs", "▁▁run", "▁home"]


def test_wordpiece_words_and_punctuation(wordpiece):
    assert find_word_borders(wordpiece).style is BorderStyle.CONTINUATION
    words = words_of(wordpiece, "unbelievability counts, [MASK]!")
    assert [word[0] for word in words] == ["un", "counts", ",", "[MASK]", "!"]
    assert all(subword.startswith("##") for subword in words[0][1:]) and len(words[0]) > 1


class Vocabulary:
    """A tokenizer as far as its vocabulary goes."""

    all_special_ids: tuple[int, ...] = ()

    def __init__(self, tokens):
        self.tokens = tokens

    def __len__(self):
        return len(self.tokens)

    def convert_ids_to_tokens(self, ids):
        return [self.tokens[index] for index in ids]


@pytest.mark.parametrize(
    ("tokens", "style", "expected"),
    [
        (["lo", "w</w>", "er</w>", "new</w>"], BorderStyle.END, [1, 0, 1, 1]),
        (["lo@@", "w", "er", "new"], BorderStyle.END, [1, 0, 1, 1]),
        (["ไป", "มา", "กิน", "ข้าว"], BorderStyle.NONE, [1, 1, 1, 1]),
        (["a", "b", " ", "c"], BorderStyle.START, [1, 0, 1, 0]),
        (["<0x0A>", "▁b", "▁", "c"], BorderStyle.START, [1, 0, 1, 0]),
    ],
)
def test_other_vocabularies(tokens, style, expected):
    borders = find_word_borders(Vocabulary(tokens))
    assert borders.style is style
    assert borders.find_starts(np.arange(4), np.array([4])).astype(int).tolist() == expected


def test_each_text_begins_a_word(byte_level):
    borders = find_word_borders(byte_level)
    ids = np.array(byte_level.convert_tokens_to_ids(["d", "o", "g", "s"]))
    assert borders.find_starts(ids, np.array([2, 0, 2])).tolist() == [True, False, True, False]
    assert borders.find_starts(ids[:0], np.array([0, 0])).tolist() == []


def test_ids_that_can_follow_a_finished_word(byte_level):
    borders = find_word_borders(byte_level)
    follows = borders.next_word_ids([byte_level.eos_token_id])
    ids = byte_level.convert_tokens_to_ids(["Ġ", "Ċ", "d", "<eos>", "<mask>"])
    assert follows[ids].tolist() == [True, True, False, True, False]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["the", "dog", "runs,", "unbelievable", "x!y", "Ärger"]), min_size=1, max_size=8))
def test_byte_level_words_are_those_of_split(words):
    tokenizer = train_bpe_once()
    found = ["".join(subwords).lstrip("Ġ") for subwords in words_of(tokenizer, " ".join(words))]
    decode = tokenizer.backend_tokenizer.decoder.decode
    assert [decode([word]) for word in found] == words


_CACHE: list[PreTrainedTokenizerFast] = []


def train_bpe_once() -> PreTrainedTokenizerFast:
    if not _CACHE:
        _CACHE.append(train_bpe(byte_level=True))
    return _CACHE[0]


def with_space_tokens(tokenizer: PreTrainedTokenizerFast, *texts: str) -> PreTrainedTokenizerFast:
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in texts])
    return tokenizer


def split_by_llama3(lines) -> PreTrainedTokenizerFast:
    """Byte-level subwords as Llama 3 cuts them: line ends stay with the punctuation before them (".\\n\\n")."""
    tokenizer = Tokenizer(models.BPE())
    pattern = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<eos>"]
    )
    tokenizer.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


@functools.cache
def designs() -> dict[str, PreTrainedTokenizerFast]:
    czech = ["člověk česká řeč, Ġurnata ċara", "the dog.\n\nruns home.\nnow", "a\tb"] * 5
    pieces = Tokenizer(models.BPE(unk_token="<unk>"))
    pieces.pre_tokenizer, pieces.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    letters = [*map(chr, range(33, 127)), *"ก\t\r\n"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", "<eos>"], initial_alphabet=letters)
    pieces.train_from_iterator([czech[0], "the dog. runs home"] * 5, trainer)
    return {
        "gpt2": train_bpe(byte_level=True),
        "neox": with_space_tokens(train_bpe(byte_level=True), "    ", "   ", "  "),
        "olmo": with_space_tokens(train_bpe(byte_level=True), "\n\n", "\n", "\t", "  "),
        "llama3": split_by_llama3(czech),
        "llama": PreTrainedTokenizerFast(tokenizer_object=pieces, unk_token="<unk>", eos_token="<eos>"),
    }


@pytest.mark.parametrize("name", ["gpt2", "neox", "olmo", "llama3", "llama"])
@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(["the", "dog.", "člověk", "ċara", "Ġurnata", "x!y", "7,5", "ก"]), min_size=1, max_size=7),
    st.lists(st.sampled_from([" ", "  ", "    ", "\t", "\n", "\n\n", " \n", "\r\n"]), min_size=8, max_size=8),
    st.booleans(),
)
def test_words_are_what_white_space_separates(name, words, gaps, trails):
    text = "".join(word + gap for word, gap in zip(words, gaps, strict=False))
    text = text if trails else text.rstrip()
    tokenizer = designs()[name]
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = np.array(encoding["input_ids"])
    starts = np.flatnonzero(find_word_borders(tokenizer).find_starts(ids, np.array([len(ids)])))
    groups = np.split(np.arange(len(ids)), starts[1:])
    spans = [encoding["offset_mapping"][group[0]][0] for group in groups] + [len(text)]
    found = [text[begin:end].strip() for begin, end in itertools.pairwise(spans)]
    assert found == text.split()


def test_words_end_where_a_subword_closes_with_white_space():
    borders = find_word_borders(designs()["llama3"])
    ids = np.array(designs()["llama3"].convert_tokens_to_ids([".ĊĊ", "Ċ", "Ġ"]))
    assert borders.closes(ids).tolist() == [True, False, False]


def test_a_letter_that_looks_like_the_mark_of_other_vocabularies_begins_no_word():
    borders = find_word_borders(Vocabulary(["▁re", "č", "čka", "▁Ġ", "Ċ", "<0xC4>"]))
    assert borders.starts.tolist() == [True, False, False, True, False, False]
    assert not borders.blanks.any()
