"""Where words begin in sequences of subword ids, for every family of tokenizers, as arrays: read off what subwords spell.

Families differ in what their subwords show. Byte-level BPE (GPT-2, RoBERTa, Llama 3) and SentencePiece (T5, XLM-R, Llama 2)
mark subwords that begin a word, by the space in front of it; WordPiece (BERT) marks subwords that go on with a word; a few
BPE vocabularies (XLM, CTRL) mark subwords that end one. Word-level vocabularies mark nothing: every subword is a word.

Where the space belongs to subwords, a mark is a letter like any other in vocabularies of the other kind (Czech has an
"č", Maltese a "Ġ"), and added tokens may be spaces, tabs and line ends as they are (GPT-NeoX, OLMo, ModernBERT, Gemma).
So each subword is spelled out by the alphabet of its vocabulary first, and words are what white space separates.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from finetune.encoding.subwords import MARKED_SHARE, first_places

SENTENCEPIECE_SPACE = "▁"
BYTE_LEVEL_SPACES = ("Ġ", "Ċ", "ĉ", "č")  # space, line feed, tab, carriage return as byte-level BPE spells them
BYTE_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # SentencePiece's single bytes
LITERAL_SPACES = (" ", "\n", "\t", "\r")  # byte or character vocabularies (ByT5, CANINE) spell spaces as they are
WORDPIECE_MARK = "##"
WORD_END_MARK = "</w>"
UNFINISHED_MARK = "@@"
BYTE_OF = {letter: byte for byte, letter in bytes_to_unicode().items()}  # the alphabet of byte-level BPE


class BorderStyle(StrEnum):
    """What the subwords of a vocabulary show of words."""

    START = "start"  # Ġword, ▁word: the space belongs to the subword after it
    CONTINUATION = "continuation"  # ##subword
    END = "end"  # subword</w>; subword@@ goes on
    NONE = "none"  # every subword is a word


@dataclass(frozen=True)
class WordBorders:
    """What each id of a vocabulary says about words, (vocabulary,) each.

    `starts`: it begins a word. `ends`: the subword after this one begins a word (`</w>`; ".\\n" of Llama 3). `blanks`:
    nothing but white space, which belongs to the word that follows it, at the end of a text to the word before it.
    `special`: an added token such as `[MASK]`: a word of its own, no text.
    """

    style: BorderStyle
    starts: npt.NDArray[np.bool_]
    ends: npt.NDArray[np.bool_]
    blanks: npt.NDArray[np.bool_]
    special: npt.NDArray[np.bool_]

    def widen(self, rows: int) -> WordBorders:
        """The same for a model of more rows than the tokenizer has tokens: the others say nothing about words."""
        missing = max(rows - len(self.starts), 0)
        arrays = (self.starts, self.ends, self.blanks, self.special)
        return WordBorders(self.style, *(np.pad(array, (0, missing)) for array in arrays))

    def find_starts(self, ids: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Whether a word begins at each subword, (subwords,), of ragged texts with `lengths` (texts,) subwords."""
        starts = self.starts[ids]
        starts[1:] |= self.ends[ids[:-1]]
        starts[1:] &= ~self.blanks[ids[:-1]]
        starts &= ~self._trailing_blanks(ids, lengths)
        starts[first_places(lengths)] = True
        return starts

    def _trailing_blanks(self, ids: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Whether nothing but white space stands from here to the end of the text, (subwords,)."""
        text = np.repeat(np.arange(len(lengths)), lengths)
        inked = np.flatnonzero(~self.blanks[ids])
        last = np.full(len(lengths), -1, dtype=np.int64)
        np.maximum.at(last, text[inked], inked)
        return np.arange(len(ids)) > last[text]

    def closes(self, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Whether the text of a subword ends with white space behind letters, so that its word is over for sure."""
        return self.ends[ids] & ~self.special[ids]

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


def find_word_borders(tokenizer: PreTrainedTokenizerBase, tokens: list[str] | None = None) -> WordBorders:
    """Read off a vocabulary which of its subwords begin, continue or end words; `tokens` if labels have their own."""
    if tokens is None:
        tokens = [token or "" for token in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
    size = len(tokens)
    special = np.zeros(size, dtype=bool)
    special[[index for index in _added_special_ids(tokenizer) if index < size]] = True
    style, starts, ends, blanks = _find_style(tokens)
    blanks &= ~special
    return WordBorders(style, starts | special, ends | special, blanks, special)


BoolArray = npt.NDArray[np.bool_]


def _find_style(tokens: list[str]) -> tuple[BorderStyle, BoolArray, BoolArray, BoolArray]:
    """The style of a vocabulary with `starts`, `ends` and `blanks`; a mark counts where many subwords bear it."""
    nowhere, everywhere = np.zeros(len(tokens), dtype=bool), np.ones(len(tokens), dtype=bool)
    continues = _bear(tokens, WORDPIECE_MARK, at_end=False)
    if continues.mean() > MARKED_SHARE:
        return BorderStyle.CONTINUATION, ~continues, nowhere, _all(tokens, str.isspace)
    for mark, finishes in ((WORD_END_MARK, True), (UNFINISHED_MARK, False)):
        bearing = _bear(tokens, mark, at_end=True)
        if bearing.mean() > MARKED_SHARE:
            return BorderStyle.END, nowhere, bearing if finishes else ~bearing, nowhere
    for begins, spell in _alphabets(tokens):
        if begins.mean() > MARKED_SHARE or (begins.any() and _spells_characters(tokens)):
            return BorderStyle.START, *_read_spelled([spell(token) for token in tokens])
    return BorderStyle.NONE, everywhere, nowhere, nowhere.copy()


def _alphabets(tokens: list[str]) -> list[tuple[BoolArray, Callable[[str], str]]]:
    """Which tokens bear a space by each alphabet, and how it spells them; the one that more tokens bear comes first."""
    pieces = _bear(tokens, SENTENCEPIECE_SPACE, at_end=False), _spell_piece
    byte_level = _bear(tokens, BYTE_LEVEL_SPACES, at_end=False), _spell_bytes
    by_pieces = pieces[0].sum() >= _bear(tokens, BYTE_LEVEL_SPACES[0], at_end=False).sum()
    marked = (pieces, byte_level) if by_pieces else (byte_level, pieces)
    return [*marked, (_bear(tokens, LITERAL_SPACES, at_end=False), _spell_literally)]


def _read_spelled(texts: list[str]) -> tuple[BoolArray, BoolArray, BoolArray]:
    """`starts`, `ends` and `blanks` of subwords that are spelled out."""
    starts = _all(texts, lambda text: _is_space(text[:1]))
    blanks = _all(texts, lambda text: bool(text) and all(map(_is_space, text)))
    return starts, _all(texts, lambda text: _is_space(text[-1:])) & ~blanks, blanks


def _is_space(letter: str) -> bool:
    """Space, tab, line ends, and the spaces of Unicode, but not the other control characters that Python splits at."""
    return letter in LITERAL_SPACES or (letter > "\x85" and letter.isspace())


def _all(texts: list[str], is_so: Callable[[str], bool]) -> BoolArray:
    return np.array([is_so(text) for text in texts], dtype=bool)


def _spell_piece(token: str) -> str:
    """A piece of SentencePiece as text; bytes above 127 are parts of letters."""
    byte = BYTE_FALLBACK.fullmatch(token)
    if byte:
        return chr(int(byte[1], 16)) if int(byte[1], 16) < 128 else "\ufffd"
    return token.replace(SENTENCEPIECE_SPACE, " ")


def _spell_bytes(token: str) -> str:
    """A subword of byte-level BPE as text; one that the alphabet of bytes cannot spell is an added token: text already.

    An added token of nothing but such letters ("Ċ" by itself) cannot be told from the byte that it stands for.
    """
    if not all(letter in BYTE_OF for letter in token):
        return token
    return bytes(BYTE_OF[letter] for letter in token).decode("utf-8", errors="replace")


def _spell_literally(token: str) -> str:
    """A byte or character as it is; "\\xa0" may be a byte in the middle of a letter, so only ASCII counts as space."""
    return token if token.isascii() else "\ufffd"


def _bear(tokens: list[str], mark: str | tuple[str, ...], *, at_end: bool) -> npt.NDArray[np.bool_]:
    return np.array([token.endswith(mark) if at_end else token.startswith(mark) for token in tokens], dtype=bool)


def _spells_characters(tokens: list[str]) -> bool:
    """Whether a vocabulary is one of characters or bytes, where a single subword is the space."""
    return float(np.mean([len(token) == 1 for token in tokens])) > 0.5


def _added_special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids of special tokens, T5's sentinels and other added specials included."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return set(tokenizer.all_special_ids) | {index for index, token in added.items() if token.special}
