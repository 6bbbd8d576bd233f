"""Thai text -> words or syllables, each distinct stretch of text segmented once.

Thai is written without spaces between words, so a word-level vocabulary needs a segmenter: `newmm` (dictionary-based
maximal matching constrained by character clusters), `syllable` (the same over a dictionary of syllables, inside
words) or marks `<|>` that a segmenter run beforehand left in the text (`fake_sefr_cut`).

Segmenters cut; they never change, drop or add a character: the segments joined are the text (marks aside).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import accumulate, pairwise, starmap
from typing import Any

from finetune.tokenization.maximal_matching import build_syllable_cutter, build_word_cutter

logger = logging.getLogger(__name__)

MARK = "<|>"
CACHE_AT_MOST = 500_000  # distinct stretches kept: about 150 MB of Thai phrases

LONGEST_LIKELY_WORD = 25  # characters

Cut = Callable[[str], list[str]]


def cut_words(text: str) -> list[str]:
    """Words by PyThaiNLP's `newmm`."""
    return build_word_cutter()(text)


def cut_syllables(text: str) -> list[str]:
    """Syllables by PyThaiNLP's dictionary (`syllable_tokenize(engine="dict")`): those of each word of `newmm`."""
    return [syllable for word in cut_words(text) for syllable in _syllables_of(word)]


@lru_cache(maxsize=200_000)
def _syllables_of(word: str) -> tuple[str, ...]:
    return tuple(build_syllable_cutter()(word))


def cut_at_marks(text: str) -> list[str]:
    """The stretches between marks; the marks themselves are no segments."""
    return [segment for segment in text.split(MARK) if segment]


CUTS: Mapping[str, Cut] = {"newmm": cut_words, "syllable": cut_syllables, "fake_sefr_cut": cut_at_marks}


class Segmenter:
    """One way of cutting, with a memory. Can be pickled; the memory stays behind.

    Parameters
    ----------
    kind
        "newmm", "syllable" or "fake_sefr_cut".
    known
        Segments of texts that are known already (`read_sefr_cache`); they win over `kind`.
    """

    def __init__(self, kind: str, known: Mapping[str, list[str]] | None = None) -> None:
        self.kind = kind
        self.known = dict(known or {})
        self._has_warned = False
        self._memory: dict[str, tuple[slice, ...]] = {}

    def cut(self, text: str) -> list[str]:
        """The segments of one text."""
        segments = self.known.get(text) or CUTS[self.kind](text)
        if self.kind == "fake_sefr_cut" and len(segments) == 1 and len(text) > LONGEST_LIKELY_WORD:
            self._say_unmarked(text)
        return segments

    def _say_unmarked(self, text: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "The text %r... holds no mark %s and is in no cache of segments, so it counts as one word, as do "
                "others like it; scripts/sefr_cut_pre_tokenizer.py puts the marks.",
                text[:LONGEST_LIKELY_WORD],
                MARK,
            )

    def spans(self, text: str) -> tuple[slice, ...]:
        """The segments of one text as slices of it, remembered."""
        spans = self._memory.get(text)
        if spans is None:
            if len(self._memory) >= CACHE_AT_MOST:
                self._memory.clear()
            spans = self._memory[text] = self._find_spans(text)
        return spans

    def _find_spans(self, text: str) -> tuple[slice, ...]:
        segments = self.cut(text)
        ends = [0, *accumulate(map(len, segments))]
        if ends[-1] == len(text):
            return tuple(starmap(slice, pairwise(ends)))
        return tuple(self._find_between_marks(text, segments))

    def _find_between_marks(self, text: str, segments: list[str]) -> Iterator[slice]:
        position = 0
        for segment in segments:
            start = text.index(segment, position)
            position = start + len(segment)
            yield slice(start, position)

    def __getstate__(self) -> dict[str, Any]:
        return {"kind": self.kind, "known": self.known}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
