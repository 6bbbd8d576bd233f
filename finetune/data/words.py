"""Raw text -> words with their places in it.

Where text holds Thai, which is written without spaces between words, pythainlp's dictionary-based newmm finds the
words, and runs of spaces are words of their own, as in the Thai corpora. Other text is cut at white space and around
punctuation; no word holds white space.
"""

from __future__ import annotations

import regex

# `regex` counts combining marks as parts of words (the stdlib's `re` cuts Thai and Devanagari words at their vowels).
WORD = regex.compile(r"[\w\u200c\u200d]+|[^\w\s]")
THAI = regex.compile(r"[\u0E01-\u0E4E]")


def split_words(text: str) -> list[tuple[int, int]]:
    """The (start, end) of the words of a text, in order and without overlap; what is between them is white space."""
    if THAI.search(text):
        return _thai_words(text)
    return [match.span() for match in WORD.finditer(text)]


def holds_thai(text: str) -> bool:
    """Whether a text is split by the Thai dictionary."""
    return bool(THAI.search(text))


def _thai_words(text: str) -> list[tuple[int, int]]:
    from pythainlp.tokenize import word_tokenize  # loads its dictionary: only where Thai text comes

    places, position = [], 0
    for word in word_tokenize(text, engine="newmm", keep_whitespace=True, join_broken_num=False):
        start = text.index(word, position)
        position = start + len(word)
        places.append((start, position))
    return places
