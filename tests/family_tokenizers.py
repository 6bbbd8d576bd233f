"""Tiny tokenizers of every family, trained on the fly on the same few sentences."""

from __future__ import annotations

import json

import pytest
import sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BertTokenizer,
    CamembertTokenizer,
    GPT2Tokenizer,
    PreTrainedTokenizer,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

CORPUS = [
    "The quick brown fox jumps over the lazy dog in Amsterdam .",
    "Mr. Smith-Jones visited the European Union's headquarters on Tuesday !",
    "New York and San Francisco are cities ; Microsoft is a company .",
    "สวัสดี ครับ ผม ชื่อ สมชาย อยู่ ที่ กรุงเทพมหานคร",
    "Ärzte und Käufer können über Straßen gehen .",
] * 40
ROBERTA_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def train_wordpiece() -> dict[str, int]:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        [line.lower() for line in CORPUS], trainers.WordPieceTrainer(vocab_size=300, special_tokens=special)
    )
    return tokenizer.get_vocab()


def train_byte_level() -> tuple[dict[str, int], list[tuple[str, str]]]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=[*ROBERTA_TOKENS, "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def train_unigram() -> list[tuple[str, float]]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=250, special_tokens=ROBERTA_TOKENS, unk_token="<unk>")
    tokenizer.train_from_iterator(CORPUS, trainer)
    return [tuple(subword) for subword in json.loads(tokenizer.to_str())["model"]["vocab"]]


class WordLevelTokenizer(PreTrainedTokenizer):
    """A tokenizer in Python: a vocabulary of words of up to four letters."""

    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012 (as in transformers)

    def __init__(self, vocabulary: dict[str, int], **kwargs) -> None:
        self.vocabulary = vocabulary
        self.calls: list[str] = []
        names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
        super().__init__(**names, special_tokens_pattern="bos_eos", **kwargs)

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    def get_vocab(self) -> dict[str, int]:
        return dict(self.vocabulary, **self._added_tokens_encoder)

    def _tokenize(self, text: str, **kwargs) -> list[str]:
        self.calls.append(text)
        text = text.strip().replace("\ufeff", "")
        return [text] if text in self.vocabulary else [text[i : i + 4] for i in range(0, len(text), 4)]

    def _convert_token_to_id(self, token: str) -> int:
        return self.vocabulary.get(token, self.vocabulary["<unk>"])

    def _convert_id_to_token(self, index: int) -> str:
        return list(self.vocabulary)[index]


@pytest.fixture(scope="session")
def bert() -> BertTokenizer:
    return BertTokenizer(vocab=train_wordpiece(), do_lower_case=True)


@pytest.fixture(scope="session")
def roberta() -> RobertaTokenizer:
    vocab, merges = train_byte_level()
    return RobertaTokenizer(vocab=vocab, merges=merges, add_prefix_space=True)


@pytest.fixture(scope="session")
def roberta_without_prefix() -> RobertaTokenizer:
    vocab, merges = train_byte_level()
    return RobertaTokenizer(vocab=vocab, merges=merges, add_prefix_space=False)


@pytest.fixture(scope="session")
def gpt2() -> GPT2Tokenizer:
    vocab, merges = train_byte_level()
    return GPT2Tokenizer(vocab=vocab, merges=merges)


@pytest.fixture(scope="session")
def xlm_roberta() -> XLMRobertaTokenizer:
    return XLMRobertaTokenizer(vocab=train_unigram())


@pytest.fixture(scope="session")
def camembert(tmp_path_factory) -> CamembertTokenizer:
    """What thai2transformers loads: a folder that holds only a SentencePiece model, with `<_>` as one of its subwords."""
    folder = tmp_path_factory.mktemp("camembert")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_prefix=str(folder / "sentencepiece.bpe"),
        vocab_size=100,
        user_defined_symbols=["<_>"],
        character_coverage=1.0,
        minloglevel=2,
    )
    return CamembertTokenizer.from_pretrained(folder)


@pytest.fixture
def word_level() -> WordLevelTokenizer:
    words = sorted({word for line in CORPUS for word in line.split()})
    return WordLevelTokenizer({word: index for index, word in enumerate([*ROBERTA_TOKENS, "<_>", *words])})


@pytest.fixture(params=["bert", "roberta", "gpt2", "xlm_roberta", "camembert", "word_level"])
def any_tokenizer(request):
    return request.getfixturevalue(request.param)
