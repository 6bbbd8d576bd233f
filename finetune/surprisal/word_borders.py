"""Where words begin in sequences of subword ids, for every family of tokenizers, as arrays: a word is what the marks say.

Families differ in what their subwords show. Byte-level BPE (GPT-2, RoBERTa, Llama 3) and SentencePiece (T5, XLM-R, Llama 2)
mark subwords that begin a word, by the space in front of it; WordPiece (BERT) marks subwords that go on with a word; a few
BPE vocabularies (XLM, CTRL) mark subwords that end one. Word-level vocabularies mark nothing: every subword is a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from finetune.encoding.subwords import MARKED_SHARE, first_places

SENTENCEPIECE_SPACE = "▁"
BYTE_LEVEL_SPACES = ("Ġ", "Ċ", "ĉ", "č")  # space, line feed, tab, carriage return as byte-level BPE spells them
BYTE_FALLBACKS = ("<0x20>", "<0x0A>", "<0x09>", "<0x0D>")  # the same as SentencePiece's single bytes
LITERAL_SPACES = (" ", "\n", "\t", "\r")  # byte or character vocabularies (ByT5, CANINE) spell spaces as they are
WORD_START_MARKS = (SENTENCEPIECE_SPACE, *BYTE_LEVEL_SPACES, *BYTE_FALLBACKS)
SPACE_LETTERS = "".join((SENTENCEPIECE_SPACE, *BYTE_LEVEL_SPACES, *LITERAL_SPACES))
WORDPIECE_MARK = "##"
WORD_END_MARK = "</w>"
UNFINISHED_MARK = "@@"


class BorderStyle(StrEnum):
    """What the subwords of a vocabulary show of words."""

    START = "start"  # Ġword, ▁word: the space belongs to the subword after it
    CONTINUATION = "continuation"  # ##subword
    END = "end"  # subword</w>; subword@@ goes on
    NONE = "none"  # every subword is a word


@dataclass(frozen=True)
class WordBorders:
    """What each id of a vocabulary says about words, (vocabulary,) each.

    `starts`: it begins a word. `ends`: the subword after this one begins a word. `blanks`: nothing but white space,
    which belongs to the word that follows it. `special`: an added token such as `[MASK]`: a word of its own, no text.
    """

    style: BorderStyle
    starts: npt.NDArray[np.bool_]
    ends: npt.NDArray[np.bool_]
    blanks: npt.NDArray[np.bool_]
    special: npt.NDArray[np.bool_]

    def find_starts(self, ids: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Whether a word begins at each subword, (subwords,), of ragged texts with `lengths` (texts,) subwords."""
        starts = self.starts[ids]
        starts[1:] |= self.ends[ids[:-1]]
        starts[1:] &= ~self.blanks[ids[:-1]]
        starts[first_places(lengths)] = True
        return starts

    def next_word_ids(self, end_ids: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Ids (vocabulary,) that can only follow a finished word: those that begin one, and the ends of a text.

        This is the set that the correction of Pimentel & Meister (2024) sums over, "S_bow with eos". Special tokens
        other than `end_ids` are not in it: they stand for no text.
        """
        follows = self.starts & ~self.special
        follows[np.asarray(end_ids, dtype=np.int64)] = True
        return follows

    @property
    def needs_correction(self) -> bool:
        """Whether the probability of a word's subwords leaves open that the word goes on."""
        return self.style in (BorderStyle.START, BorderStyle.CONTINUATION)


def find_word_borders(tokenizer: PreTrainedTokenizerBase) -> WordBorders:
    """Read off a vocabulary which of its subwords begin, continue or end words."""
    size = len(tokenizer)
    tokens = [token or "" for token in tokenizer.convert_ids_to_tokens(list(range(size)))]
    special = np.zeros(size, dtype=bool)
    special[[index for index in _added_special_ids(tokenizer) if index < size]] = True
    style, starts, ends = _find_style(tokens)
    blanks = np.array([_is_blank(token) for token in tokens], dtype=bool) & ~special
    if style in (BorderStyle.NONE, BorderStyle.END):
        blanks[:] = False
    return WordBorders(style, starts | special, ends | special, blanks, special)


def _find_style(tokens: list[str]) -> tuple[BorderStyle, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """The style of a vocabulary with the `starts` and `ends` of its subwords; a mark counts where many subwords bear it."""
    nowhere, everywhere = np.zeros(len(tokens), dtype=bool), np.ones(len(tokens), dtype=bool)
    continues = _bear(tokens, WORDPIECE_MARK, at_end=False)
    if continues.mean() > MARKED_SHARE:
        return BorderStyle.CONTINUATION, ~continues, nowhere
    for mark, finishes in ((WORD_END_MARK, True), (UNFINISHED_MARK, False)):
        bearing = _bear(tokens, mark, at_end=True)
        if bearing.mean() > MARKED_SHARE:
            return BorderStyle.END, nowhere, bearing if finishes else ~bearing
    for marks in (WORD_START_MARKS, LITERAL_SPACES):
        begins = _bear(tokens, marks, at_end=False)
        if begins.mean() > MARKED_SHARE or (begins.any() and _spells_characters(tokens)):
            return BorderStyle.START, begins, nowhere
    return BorderStyle.NONE, everywhere, nowhere


def _bear(tokens: list[str], mark: str | tuple[str, ...], *, at_end: bool) -> npt.NDArray[np.bool_]:
    return np.array([token.endswith(mark) if at_end else token.startswith(mark) for token in tokens], dtype=bool)


def _spells_characters(tokens: list[str]) -> bool:
    """Whether a vocabulary is one of characters or bytes, where a single subword is the space."""
    return float(np.mean([len(token) == 1 for token in tokens])) > 0.5


def _is_blank(token: str) -> bool:
    """Whether a subword holds white space and nothing else."""
    return bool(token) and (token in BYTE_FALLBACKS or not token.strip(SPACE_LETTERS))


def _added_special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids of special tokens, T5's sentinels and other added specials included."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return set(tokenizer.all_special_ids) | {index for index, token in added.items() if token.special}
