"""Surprisals of texts -> tables of tokens, words or sentences, column by column: no Python object per token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from finetune.surprisal.surprisal import WordSurprisals, row_sums, sentence_surprisals
from finetune.surprisal.word_places import NOWHERE, WordPlaces

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ScoredTexts:
    """The tokens of several texts and their surprisals, flat, with what the rows of each text say beside them.

    `leading` and `trailing` map a column's name to its values, one a text (texts,): what the text is, and whatever
    else is known of it (metadata, epoch, loss). `shown` are the tokens that get rows: all, or only masks.
    """

    leading: Mapping[str, Sequence[Any] | pa.Array]
    trailing: Mapping[str, Sequence[Any] | pa.Array]
    ids: npt.NDArray[np.integer]  # (tokens,)
    offsets: npt.NDArray[np.int64]  # (texts + 1,)
    starts: BoolArray  # (tokens,) a word begins
    surprisal: npt.NDArray[np.float64]  # (tokens,) bits
    predicted_ids: npt.NDArray[np.integer]  # (tokens,) -1: none
    predicted_surprisal: npt.NDArray[np.float64]  # (tokens,) bits
    words: WordSurprisals
    word_texts: Sequence[str] | None = None  # (words,) needed for word tables only
    places: WordPlaces | None = None  # of words in their texts; None: not known
    shown: BoolArray | None = None
    first_words: npt.NDArray[np.int64] | None = (
        None  # (texts,) number of the first word of each part of a text; None: 0
    )

    @property
    def text_of_token(self) -> npt.NDArray[np.int64]:
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


@dataclass(frozen=True)
class SurprisalTables:
    """Makes tables of scored texts; `tokens` spells the vocabulary, `constants` stand first on every row.

    >>> tables = SurprisalTables(pa.array(vocabulary), {"model_name": "gpt2", "task": "lm", "n_params": "124M"})
    >>> file.write(tables.build(scored, "token"))
    """

    tokens: pa.Array
    constants: Mapping[str, Any]

    def build(self, scored: ScoredTexts, detail: str) -> pa.Table:
        """The rows of one chunk with the columns of that detail: `token`, `word` or `sentence`."""
        build = {"token": self._tokens, "word": self._words, "sentence": self._sentences}[detail]
        return build(scored)

    def _table(self, scored: ScoredTexts, of_text: npt.NDArray[np.int64], columns: Mapping[str, Any]) -> pa.Table:
        """Constants and what is known of the texts around `columns`, all of the same length."""
        size = len(of_text)
        constants = {name: _repeated(value, size) for name, value in self.constants.items()}
        leading = {name: _of_texts(values, of_text) for name, values in scored.leading.items()}
        trailing = {name: _of_texts(values, of_text) for name, values in scored.trailing.items()}
        return pa.table({**constants, **leading, **columns, **trailing})

    def _tokens(self, scored: ScoredTexts) -> pa.Table:
        chosen = np.arange(len(scored.ids)) if scored.shown is None else np.flatnonzero(scored.shown)
        words = scored.words
        word = np.cumsum(scored.starts) - 1
        uncounted = _uncounted_words(scored)
        of_text = scored.text_of_token
        alone = words.tokens[word] == 1 if len(word) else np.zeros(0, dtype=bool)
        columns = {
            "word_num": (word - uncounted[of_text])[chosen],
            **_characters(scored.places, word[chosen]),
            "token_num_in_word": (np.arange(len(word)) - words.first_token[word])[chosen] if len(word) else word,
            "token": self._spell(scored.ids[chosen]),
            "token_id": scored.ids[chosen].astype(np.int32),
            "token_is_start_of_word": scored.starts[chosen],
            "token_is_word": alone[chosen],
            "surprisal": _numbers(scored.surprisal[chosen]),
            "predicted_token": self._spell(scored.predicted_ids[chosen]),
            "predicted_token_id": _ids(scored.predicted_ids[chosen]),
            "predicted_token_surprisal": _numbers(scored.predicted_surprisal[chosen]),
        }
        return self._table(scored, of_text[chosen], columns)

    def _words(self, scored: ScoredTexts) -> pa.Table:
        words = scored.words
        of_text = scored.text_of_token[words.first_token]
        chosen = np.arange(len(of_text))
        if scored.shown is not None:
            chosen = np.flatnonzero(np.logical_or.reduceat(scored.shown, words.first_token)) if len(of_text) else chosen
        columns = {
            "word_num": (np.arange(len(of_text)) - _uncounted_words(scored)[of_text])[chosen],
            "word": pa.array(scored.word_texts, pa.string()).take(pa.array(chosen)),
            **_characters(scored.places, chosen),
            "n_tokens": words.tokens[chosen],
            "surprisal": _numbers(words.surprisal[chosen]),
            "surprisal_corrected": _numbers(words.corrected[chosen]),
        }
        return self._table(scored, of_text[chosen], columns)

    def _sentences(self, scored: ScoredTexts) -> pa.Table:
        sentences = sentence_surprisals(scored.surprisal, scored.offsets)
        columns = {
            "n_words": row_sums(scored.starts, scored.offsets).astype(np.int64),
            "n_tokens": sentences.tokens,
            "surprisal": _numbers(sentences.surprisal),
            "mean_surprisal": _numbers(sentences.mean),
            "perplexity": _numbers(sentences.perplexity),
        }
        return self._table(scored, np.arange(len(scored.offsets) - 1), columns)

    def _spell(self, ids: npt.NDArray[np.integer]) -> pa.Array:
        return pc.take(self.tokens, _ids(ids))


def abbreviate_count(parameters: int) -> str:
    """A number of parameters as people write it: 124M, 1.3B, 22.6M, 512."""
    for size, letter in ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "K")):
        if parameters >= size:
            number = parameters / size
            return f"{number:.0f}{letter}" if number >= 100 or number == round(number) else f"{number:.1f}{letter}"
    return str(parameters)


def _uncounted_words(scored: ScoredTexts) -> npt.NDArray[np.int64]:
    """What to take from a word's number among all words to have that in its text, (texts,)."""
    before = np.concatenate([[0], np.cumsum(scored.starts)])[scored.offsets[:-1]]
    return before if scored.first_words is None else before - scored.first_words


def _repeated(value: object, size: int) -> pa.Array:
    """The same value on each row; texts once, as a dictionary."""
    if isinstance(value, str):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(size, dtype=np.int32)), pa.array([value]))
    return pa.repeat(pa.scalar(value), size)


def _of_texts(values: Sequence[Any] | pa.Array, of_text: npt.NDArray[np.int64]) -> pa.Array:
    """The value of the text that each row belongs to; long texts are not copied to each row of theirs."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    if pa.types.is_string(array.type):
        missing = array.is_null().to_numpy(zero_copy_only=False)[of_text]
        places = pa.array(of_text.astype(np.int32), mask=missing)
        return pa.DictionaryArray.from_arrays(places, pc.fill_null(array, ""))
    return array.take(pa.array(of_text))


def _ids(ids: npt.NDArray[np.integer]) -> pa.Array:
    """Ids with -1 as missing."""
    return pa.array(ids.astype(np.int32), mask=ids < 0)


def _characters(places: WordPlaces | None, words: npt.NDArray[np.int64]) -> dict[str, pa.Array]:
    """The places of the words of some rows."""
    unknown = np.full(len(words), NOWHERE, dtype=np.int64)
    first, end = (unknown, unknown) if places is None else (places.first[words], places.end[words])
    return {"word_char_start": _ids(first), "word_char_end": _ids(end)}


def _numbers(values: npt.NDArray[np.floating]) -> pa.Array:
    """Single precision, which is what models give; not-a-number as missing."""
    return pa.array(values.astype(np.float32), mask=np.isnan(values))
