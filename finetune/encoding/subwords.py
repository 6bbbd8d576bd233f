"""Texts -> flat arrays of subword ids, with any tokenizer, without its special tokens.

A tokenizer of the Rust library is used bare: no Python object per text but its `Encoding`, no padding, no truncation,
no offsets. It travels to worker processes as its JSON, so that they need neither transformers nor torch.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from finetune.encoding.control_tokens import ControlTokens
from finetune.encoding.ragged import offsets_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

PROBES = ["Hello, world! don't  stop", "ภาษาไทย ง่าย นิดเดียว", "中文 test", "naïve Café 1,234.5", "a<_>b", ""]
CONTINUATION_MARKS = ("##",)  # WordPiece: this subword goes on with the word
WORD_START_MARKS = ("▁", "Ġ")  # SentencePiece, byte-level BPE: a word begins here
MARKED_SHARE = 0.01  # of a vocabulary that uses a mark; a word-level one may hold "##" or "▁" as a word


@dataclass(frozen=True)
class Subwords:
    """Ragged ids of several texts: text i has the next `lengths[i]` of `ids`."""

    ids: npt.NDArray[np.unsignedinteger]  # (subwords,)
    lengths: npt.NDArray[np.int32]  # (texts,)
    word_starts: npt.NDArray[np.bool_] | None = None  # (subwords,): a word begins here
    control_texts: int = 0  # texts that spell a control token, which were encoded as the text that they are


@dataclass(frozen=True)
class TextSpans:
    """The subwords of one text, and which of its characters each comes from."""

    ids: npt.NDArray[np.int64]  # (subwords,)
    spans: npt.NDArray[np.int64]  # (subwords, 2): first, one past the last


class SubwordEncoder:
    """Encodes lists of texts; picklable. A control token that a text spells (`[SEP]`, `</s>`) is text.

    Parameters
    ----------
    tokenizer
        Any tokenizer of transformers, on the Rust library or in Python.
    words
        Also find where words begin, by the tokenizer's own word ids (for whole-word masking).
    kept
        Control tokens that texts spell on purpose, and that stay what they are (the mask of masked texts).
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, words: bool = False, kept: Collection[str | None] = ()
    ) -> None:
        self.words = words
        self.dtype = id_dtype(len(tokenizer))
        self.fingerprint = tokenizer_fingerprint(tokenizer)
        self.control = ControlTokens(tokenizer, kept=kept)
        rust_json = bare_rust_json(tokenizer)
        self._rust_json = self.control.strip_rust(rust_json) if rust_json else None
        self._python_tokenizer = None if self._rust_json else tokenizer
        self._rust: Tokenizer | None = None
        self._starts_by_id = find_starts_by_id(tokenizer, is_rust=bool(self._rust_json)) if words else None
        if self._rust_json and not self._agrees_with(tokenizer):
            logger.info(
                "%s adds steps of its own to its Rust tokenizer, so it is used as it is.", type(tokenizer).__name__
            )
            self._rust_json, self._python_tokenizer = None, tokenizer

    def encode(self, texts: Sequence[str]) -> Subwords:
        """Ids of all texts, special tokens left out."""
        if not texts:
            return Subwords(np.empty(0, self.dtype), np.empty(0, np.int32), np.empty(0, bool) if self.words else None)
        subwords = self._encode_rust(list(texts)) if self._rust_json else self._encode_python(list(texts))
        return replace(subwords, control_texts=int(self.control.find_spelling(texts).sum()))

    def find_spans(self, texts: Sequence[str]) -> list[TextSpans | None]:
        """Ids as `encode` gives them with the characters that they come from; None: the tokenizer does not say."""
        if self._rust_json:
            found = [
                (item.ids, item.offsets)
                for item in self._open_rust().encode_batch(list(texts), add_special_tokens=False)
            ]
        elif texts and getattr(self._python_tokenizer, "is_fast", False):
            assert self._python_tokenizer is not None
            rows = self._python_tokenizer(
                list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )
            found = list(zip(rows["input_ids"], rows["offset_mapping"], strict=True))
        else:
            return [None] * len(texts)
        return [TextSpans(np.array(ids, np.int64), np.array(spans, np.int64).reshape(-1, 2)) for ids, spans in found]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rust": None}

    def _open_rust(self) -> Tokenizer:
        if self._rust is None:
            assert self._rust_json is not None
            self._rust = Tokenizer.from_str(self._rust_json)
        return self._rust

    def _encode_rust(self, texts: list[str]) -> Subwords:
        needs_word_ids = self.words and self._starts_by_id is None
        rust = self._open_rust()
        encode = rust.encode_batch if needs_word_ids else rust.encode_batch_fast
        encodings = encode(texts, add_special_tokens=False)
        lengths = np.fromiter(map(len, encodings), np.int32, len(encodings))
        ids = np.fromiter(chain.from_iterable([item.ids for item in encodings]), self.dtype, int(lengths.sum()))
        if not self.words:
            return Subwords(ids, lengths)
        if needs_word_ids:
            word_ids = np.fromiter(chain.from_iterable([item.word_ids for item in encodings]), np.float64, len(ids))
            return Subwords(ids, lengths, starts_of_word_ids(word_ids, lengths))
        return Subwords(ids, lengths, self._starts(ids, lengths))

    def _encode_python(self, texts: list[str]) -> Subwords:
        rows = self._call_tokenizer(texts)
        for index, row in enumerate(rows):
            if self.control.are_spelled(texts[index], row):
                rows[index] = self._encode_as_text(texts[index])
        lengths = np.fromiter(map(len, rows), np.int32, len(rows))
        ids = np.concatenate(rows).astype(self.dtype)
        return Subwords(ids, lengths, self._starts(ids, lengths) if self.words else None)

    def _call_tokenizer(self, texts: list[str]) -> list[npt.NDArray[np.int64]]:
        assert self._python_tokenizer is not None
        rows = self._python_tokenizer(
            texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
        )["input_ids"]
        return [np.array(row, dtype=np.int64) for row in rows]

    def _encode_as_text(self, text: str) -> npt.NDArray[np.int64]:
        """Cut inside each control token; a subword that is still one (of a single character) is unknown."""
        ids = np.concatenate(self._call_tokenizer(self.control.cut(text)))
        if self.control.unknown is not None:
            ids[np.isin(ids, list(self.control.ids))] = self.control.unknown
        return ids

    def _starts(self, ids: npt.NDArray, lengths: npt.NDArray) -> npt.NDArray[np.bool_]:
        assert self._starts_by_id is not None
        starts = self._starts_by_id[ids]
        starts[first_places(lengths)] = True
        return starts

    def _agrees_with(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        expected = tokenizer(PROBES, add_special_tokens=False, verbose=False)["input_ids"]
        subwords = self._encode_rust(PROBES)
        return np.array_equal(subwords.ids, np.fromiter(chain.from_iterable(expected), np.int64))


def id_dtype(vocabulary_size: int) -> type[np.unsignedinteger]:
    """The smallest type that holds every id."""
    return np.uint16 if vocabulary_size <= 1 << 16 else np.uint32


def bare_rust_json(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The Rust tokenizer under `tokenizer` as JSON, without truncation and padding; None where there is none."""
    if not getattr(tokenizer, "is_fast", False):
        return None
    try:
        rust = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    except Exception as error:  # the library raises a bare Exception for parts written in Python
        logger.debug("%s cannot be taken apart (%s), so it is used as it is.", type(tokenizer).__name__, error)
        return None
    rust.no_truncation()
    rust.no_padding()
    return rust.to_str()


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash that two tokenizers share exactly where they are made of the same parts (vocabulary, casing, rules)."""
    description = bare_rust_json(tokenizer) or json.dumps(_describe_python(tokenizer), sort_keys=True, default=str)
    return hashlib.sha256(description.encode("utf-8", "surrogatepass")).hexdigest()


def _describe_python(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What decides the ids of a tokenizer written in Python. Where it was loaded from does not."""
    places = ("name_or_path", "tokenizer_file", "vocab_file", "merges_file", "cache_dir")
    settings = {name: value for name, value in tokenizer.init_kwargs.items() if name not in places}
    return {
        "class": f"{type(tokenizer).__module__}.{type(tokenizer).__qualname__}",
        "vocabulary": tokenizer.get_vocab(),
        "special": tokenizer.special_tokens_map,
        "settings": {name: value for name, value in settings.items() if isinstance(value, str | int | float | bool)},
    }


def find_starts_by_id(tokenizer: PreTrainedTokenizerBase, *, is_rust: bool) -> npt.NDArray[np.bool_] | None:
    """For each id whether its subword begins a word, where that can be seen from the subword; else None.

    WordPiece marks subwords that go on. Tokenizers in Python have no word ids: subwords marked as word starts begin words,
    and without such marks every subword is a word (word-level vocabularies). For other Rust tokenizers only their word
    ids tell.
    """
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    spelled = [token or "" for token in tokens]
    continues = np.array([token.startswith(CONTINUATION_MARKS) for token in spelled], dtype=bool)
    if is_rust:
        is_wordpiece = type(tokenizer.backend_tokenizer.model).__name__ == "WordPiece"
        return ~continues if is_wordpiece else None
    if continues.mean() > MARKED_SHARE:
        return ~continues
    marked = np.array([token.startswith(WORD_START_MARKS) for token in spelled], dtype=bool)
    if marked.mean() <= MARKED_SHARE:
        return np.ones(len(spelled), dtype=bool)
    marked[tokenizer.all_special_ids] = True
    return marked


def starts_of_word_ids(word_ids: npt.NDArray[np.floating], lengths: npt.NDArray) -> npt.NDArray[np.bool_]:
    """Where words begin, from word ids (nan: none, each such subword is a word of its own)."""
    starts = np.ones(len(word_ids), dtype=bool)
    starts[1:] = word_ids[1:] != word_ids[:-1]  # nan differs from everything
    starts[first_places(lengths)] = True
    return starts


def first_places(lengths: npt.NDArray) -> npt.NDArray[np.int64]:
    """Index of the first subword of every text that has one."""
    return offsets_of(lengths)[:-1][np.asarray(lengths) > 0]
