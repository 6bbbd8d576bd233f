"""Words -> ids of their subwords, with any tokenizer, each distinct word once.

A sentence of a tagging corpus is a list of words, and every word is tokenized on its own, as
`tokenizer(words, is_split_into_words=True)` does. So a corpus of 250,000 words costs the tokenization of its 10,000
distinct ones, Python tokenizers included, and the rest is index arithmetic.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from finetune.encoding.control_tokens import ControlTokens
from finetune.encoding.ragged import offsets_of, take_rows
from finetune.errors import DataError, Problem
from finetune.tokenization.pre_tokenizers import read_pre_tokenizers

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

WORDS_PER_CALL = 512  # long enough to be one call among few, short enough that threads share the chunks
MOST_CHARACTERS_KEPT = 20_000_000  # of distinct words; a stream without end must not fill the memory


@dataclass(frozen=True)
class EncodedWords:
    """Sentences as words as subwords, ragged twice: word w has `ids[word_offsets[w]:word_offsets[w + 1]]`."""

    ids: npt.NDArray[np.int32]  # (subwords,)
    word_offsets: npt.NDArray[np.int64]  # (words + 1,)
    sentence_offsets: npt.NDArray[np.int64]  # (sentences + 1,), counted in words
    words_without_pieces: int
    control_words: int = 0  # words that spell a control token, encoded as the text that they are

    def rows(self) -> list[list[list[int]]]:
        """The same as nested lists: sentences of words of ids. For looking at a few, not for whole corpora."""
        words = [self.ids[a:b].tolist() for a, b in pairwise(self.word_offsets)]
        return [words[a:b] for a, b in pairwise(self.sentence_offsets)]


class WordEncoder:
    """Encodes words one by one, each distinct word once; what it learnt is kept from call to call, up to a size.

    Parameters
    ----------
    tokenizer
        Any tokenizer of transformers, on the Rust library or in Python.
    lowercase
        Lower-case every word first.
    space_token
        Replaces every " " inside a word; where the vocabulary has it, it is one subword with its own id. None or " "
        leaves spaces as they are.

    A word that the tokenizer gives no subwords (a zero-width space, a blank) becomes the unknown token, so that every
    word has a place. A word that spells a control token (`[SEP]`, `</s>`) is encoded as the text that it is.
    `words_without_pieces` counts the former over all calls, in running words.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, lowercase: bool = False, space_token: str | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.lowercase = lowercase
        self.space_token = None if space_token in (None, "", " ") else space_token
        self.words_without_pieces = 0
        self._unknown_id = _stand_in_id(tokenizer)
        self._space_id = self._find_space_id()
        self._word_prefix = " " if _needs_prefix_space(tokenizer) else ""
        self._control = ControlTokens(tokenizer, kept=(self.space_token,))
        self._forget()

    def _forget(self) -> None:
        self._places: dict[str, int] = {}
        self._ids = np.empty(0, dtype=np.int32)
        self._lengths = np.empty(0, dtype=np.int64)
        self._is_empty = np.empty(0, dtype=bool)
        self._characters_kept = 0

    def encode(self, sentences: Sequence[Sequence[str]] | pa.Array | pa.ChunkedArray) -> EncodedWords:
        """Encode sentences, given as lists of words or, quicker, as an Arrow column of them."""
        if self._characters_kept > MOST_CHARACTERS_KEPT:
            self._forget()
        distinct, indices, sentence_offsets = _find_distinct(sentences)
        places = self._places_of(distinct)[indices]
        ids, word_offsets = take_rows(self._ids, offsets_of(self._lengths), places)
        without_subwords = int(self._is_empty[places].sum())
        self.words_without_pieces += without_subwords
        control_words = int(self._control.find_spelling(distinct)[indices].sum())
        return EncodedWords(
            ids.astype(np.int32, copy=False), word_offsets, sentence_offsets, without_subwords, control_words
        )

    def _places_of(self, distinct: list[str]) -> npt.NDArray[np.int64]:
        """Rows of the table for these words; words that are new are encoded and added."""
        new = [word for word in distinct if word not in self._places]
        if new:
            ids, lengths = self._encode_texts([self._prepare(word) for word in new])
            self._add(new, ids, lengths)
        return np.array([self._places[word] for word in distinct], dtype=np.int64)

    def _add(self, words: list[str], ids: npt.NDArray, lengths: npt.NDArray) -> None:
        empty = lengths == 0
        ids = np.insert(ids, offsets_of(lengths)[:-1][empty], self._unknown_id)
        first = len(self._places)
        self._characters_kept += sum(map(len, words))
        self._places.update(zip(words, range(first, first + len(words)), strict=True))
        self._ids = np.concatenate([self._ids, ids.astype(np.int32)])
        self._lengths = np.concatenate([self._lengths, np.maximum(lengths, 1)])
        self._is_empty = np.concatenate([self._is_empty, empty])

    def _prepare(self, word: str) -> str:
        word = word.lower() if self.lowercase else word
        return word.replace(" ", self.space_token) if self.space_token else word

    def _encode_texts(self, texts: list[str]) -> tuple[npt.NDArray, npt.NDArray]:
        """Ids (subwords,) and lengths (texts,); a space token inside a text stands for itself in every tokenizer."""
        if self._space_id is None:
            return self._encode_fragments(texts)
        splits = [self._split_at_space_token(text) for text in texts]
        fragments = [fragment for split in splits for fragment in split]
        is_space = np.array([fragment == self.space_token for fragment in fragments], dtype=bool)
        ids, lengths = self._encode_fragments([f for f, space in zip(fragments, is_space, strict=True) if not space])
        all_lengths = np.ones(len(fragments), dtype=np.int64)
        all_lengths[~is_space] = lengths
        all_ids = np.full(all_lengths.sum(), self._space_id, dtype=np.int64)
        all_ids[~np.repeat(is_space, all_lengths)] = ids
        text_ends = np.cumsum([len(split) for split in splits])
        return all_ids, np.diff(offsets_of(all_lengths)[np.concatenate([[0], text_ends]).astype(np.int64)])

    def _split_at_space_token(self, text: str) -> list[str]:
        if self.space_token is None or self.space_token not in text:
            return [text]
        return [part for part in re.split(f"({re.escape(self.space_token)})", text) if part]

    def _encode_fragments(self, texts: list[str]) -> tuple[npt.NDArray, npt.NDArray]:
        """Ids and lengths with every control token that the texts happen to spell taken apart."""
        ids, lengths = self._tokenize(texts)
        owners = np.repeat(np.arange(len(texts)), lengths)
        marked = np.unique(owners[np.isin(ids, list(self._control.ids))]).tolist()
        suspects = [index for index in marked if self._control.are_spelled(texts[index], ids[owners == index])]
        if not suspects:
            return ids, lengths
        rows = np.split(ids, np.cumsum(lengths)[:-1])
        for index in suspects:
            rows[index] = self._encode_as_text(texts[index])
        return np.concatenate(rows), np.array([len(row) for row in rows], dtype=np.int64)

    def _encode_as_text(self, text: str) -> npt.NDArray:
        """Subwords of a text that spells a control token: without special treatment, else cut inside it, else unknown."""
        ids = self._tokenize([text], split_special_tokens=True)[0]
        if not self._control.ids.intersection(ids.tolist()):
            return ids
        ids = self._tokenize(self._control.cut(text), split_special_tokens=True)[0]
        return ids if not self._control.ids.intersection(ids.tolist()) else np.array([self._unknown_id])

    def _tokenize(self, texts: list[str], split_special_tokens: bool | None = None) -> tuple[npt.NDArray, npt.NDArray]:
        tokenize = self._tokenize_fast if self.tokenizer.is_fast else self._tokenize_python
        return tokenize(texts, split_special_tokens)

    def _tokenize_fast(self, texts: list[str], split_special: bool | None) -> tuple[npt.NDArray, npt.NDArray]:
        """Chunks of words go through the Rust library as pre-split sentences; it works on them in parallel."""
        if not texts:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        words = [self._mark_begin(text) for text in texts] if self._word_prefix else texts
        chunks = [words[start : start + WORDS_PER_CALL] for start in range(0, len(words), WORDS_PER_CALL)]
        encodings = self.tokenizer(
            chunks,
            is_split_into_words=True,
            add_special_tokens=False,
            split_special_tokens=split_special,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,  # a chunk is no sentence: its length means nothing
        ).encodings
        ids = [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]
        lengths = [
            np.bincount(np.array(encoding.word_ids, dtype=np.int64), minlength=len(chunk))
            for encoding, chunk in zip(encodings, chunks, strict=True)
        ]
        return np.concatenate(ids), np.concatenate(lengths)

    def _mark_begin(self, text: str) -> str:
        return text if not text or text.startswith(self._word_prefix) else self._word_prefix + text

    def _tokenize_python(self, texts: list[str], split_special: bool | None) -> tuple[npt.NDArray, npt.NDArray]:
        options: dict[str, Any] = {} if split_special is None else {"split_special_tokens": split_special}
        tokens = [self.tokenizer.tokenize(text, **options) for text in texts]
        rows = [cast(list[int], self.tokenizer.convert_tokens_to_ids(row)) for row in tokens]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        return np.array([index for row in rows for index in row], dtype=np.int64), lengths

    def _find_space_id(self) -> int | None:
        if self.space_token is None:
            return None
        index = cast(int | None, self.tokenizer.convert_tokens_to_ids(self.space_token))
        if index is not None and (index != self.tokenizer.unk_token_id or self.space_token == self.tokenizer.unk_token):
            return int(index)
        logger.warning(
            "The space token %r is not in the vocabulary of the tokenizer, so every space inside a word is encoded as "
            "that text; pass --space_token ' ' to keep spaces, or a token that the vocabulary has.",
            self.space_token,
        )
        return None


def _find_distinct(
    sentences: Sequence[Sequence[str]] | pa.Array | pa.ChunkedArray,
) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The distinct words in the order that they come in, the number of each word (words,), and where sentences begin."""
    column: Any = sentences
    if not hasattr(column, "dictionary_encode"):  # of Arrow's columns alone
        rows, numbers = list(sentences), dict[str, int]()
        indices = [numbers.setdefault(word, len(numbers)) for row in rows for word in row]
        return list(numbers), np.array(indices, dtype=np.int64), offsets_of([len(row) for row in rows])
    column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    encoded = column.flatten().dictionary_encode()
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False), offsets_of(lengths)


def _stand_in_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id for a word without subwords: the unknown token, or where there is none, the mask or a separator."""
    for name in ("unk_token_id", "mask_token_id", "sep_token_id", "eos_token_id", "pad_token_id"):
        index = getattr(tokenizer, name, None)
        if index is not None:
            return int(index)
    raise DataError(
        Problem(
            f"the tokenizer {type(tokenizer).__name__} has no unknown, mask, separator, end or padding token",
            "one of them must stand for words that have no subwords",
            "add one, for example an unk_token in its tokenizer_config.json",
        )
    )


def _needs_prefix_space(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Byte-level BPE marks the begin of a word by the space before it; without one, words look like word ends."""
    byte_level = [part for part in read_pre_tokenizers(tokenizer) if part.get("type") == "ByteLevel"]
    return bool(byte_level) and not any(part.get("add_prefix_space") for part in byte_level)
