"""Raw text -> words with their places in it, the same way in training and prediction.

How a text is cut is one of:

- `auto`: at white space and around punctuation. Thai, which is written without spaces, by pythainlp's dictionary (newmm;
  runs of spaces are words there, as in the Thai corpora). Of Chinese, Japanese, Lao, Khmer, Burmese and other scripts
  without spaces every character is a word: otherwise a whole clause would be one, and cut by an annotation alone, which
  gives the answer away.
- `characters`: every character is a word, in every script, as in MSRA's or ResumeNER's files.
- `words`: at white space and around punctuation only.

A character is what a reader takes for one (Unicode's grapheme cluster): a letter with its marks, an emoji sequence.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex

Places = list[tuple[int, int]]

# Scripts whose words stand next to each other without a space; the marks of long vowels belong to Japanese.
UNSPACED = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Lao}\p{Khmer}\p{Myanmar}\p{Yi}\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}"
    r"\p{Tai_Viet}\p{Javanese}\p{Balinese}ーｰ"
)
# Letters that are stacked under the one before (Khmer's coeng, Burmese virama) are one character with it.
CHARACTER = r"(?:\X(?<=[\u17D2\u1039]))*(?:\p{GCB=Prepend}|(?!\s)\X)"
PATTERNS = {
    "words": r"[\w\u200c\u200d]+|" + CHARACTER,
    "auto": rf"[[\w\u200c\u200d]--[{UNSPACED}]]+|{CHARACTER}",
    "characters": CHARACTER,
    "unspaced": rf"[{UNSPACED}]",
    "cluster": r"\X",
}
ASCII_WORD = re.compile(r"\w+|[^\w\s]", re.ASCII)  # the same for the texts that are most of all, at once
THAI = re.compile(r"[\u0E01-\u0E4E]")
# What joins code points that are no letters into one character: only texts with these need a look at it.
SEQUENCE = re.compile(r"[\u200d\ufe0f\u20e3\U0001F3FB-\U0001F3FF\U0001F1E6-\U0001F1FF\U000E0020-\U000E007F]")


def split_words(text: str, segmenter: str = "auto") -> Places:
    """The (start, end) of the words of a text, in order and without overlap; what is between them is white space."""
    if text.isascii() and segmenter != "characters":
        return [match.span() for match in ASCII_WORD.finditer(text)]
    if segmenter == "auto" and THAI.search(text):
        return _thai_words(text)
    return [match.span() for match in find_pattern(segmenter).finditer(text)]


@lru_cache
def find_pattern(name: str) -> regex.Pattern[str]:
    """One of `PATTERNS`, by `regex`, for which combining marks are parts of words: the stdlib's `re` cuts Thai and
    Devanagari words at their vowels. Texts in ASCII do without it.
    """
    import regex

    return regex.compile(PATTERNS[name], regex.V1)


def holds_thai(text: str) -> bool:
    """Whether `auto` cuts a text by the Thai dictionary."""
    return bool(THAI.search(text))


def holds_unspaced(text: str) -> bool:
    """Whether a text holds scripts of which `auto` takes every character as a word."""
    return not text.isascii() and bool(find_pattern("unspaced").search(text))


def is_character(word: str) -> bool:
    """Whether a word is a single character, as a reader sees it."""
    if word.isascii():
        return len(word) == 1 and not word.isspace()
    return find_pattern("characters").fullmatch(word) is not None


def _thai_words(text: str) -> Places:
    from pythainlp.tokenize import word_tokenize  # loads its dictionary: only where Thai text comes

    places, position = [], 0
    for word in word_tokenize(text, engine="newmm", keep_whitespace=True, join_broken_num=False):
        start = text.index(word, position)
        position = start + len(word)
        places.append((start, position))
    if SEQUENCE.search(text):
        places = _join_cut_characters(places, text)
    return [part for start, end in places for part in _cut_unspaced(text, start, end)]


def _join_cut_characters(places: Places, text: str) -> Places:
    """The words, with those joined that the dictionary's borders cut inside one character (an emoji sequence)."""
    borders = {match.start() for match in find_pattern("cluster").finditer(text)}
    joined: Places = []
    for start, end in places:
        if joined and start not in borders:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _cut_unspaced(text: str, start: int, end: int) -> Places:
    """A word of a Thai text that holds another script without spaces, in the words that this script has."""
    if not find_pattern("unspaced").search(text, start, end):
        return [(start, end)]
    return [match.span() for match in find_pattern("auto").finditer(text, start, end)]
