"""Character spans of annotated raw text -> words and IOB2 tags, without losing a character of gold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from finetune.data.words import split_words

Places = list[tuple[int, int]]
WORD = r"[\p{Latin}\p{Cyrillic}\p{Greek}\p{Armenian}\p{Georgian}]+"
LONGEST_WORD = 60


@dataclass(frozen=True, order=True)
class Span:
    """An annotation of `text[start:end]`, counted in characters."""

    start: int
    end: int
    label: str

    def __str__(self) -> str:
        return f"{self.start}-{self.end} {self.label}"


@dataclass(frozen=True)
class TaggedText:
    """The words of a text, their tags, and how many words had to be cut because a span began or ended inside."""

    places: Places
    tags: list[str]
    words_cut: int


def trim_span(span: Span, text: str) -> Span:
    """The span without white space at its ends, which annotators catch with the mouse."""
    covered = text[span.start : span.end]
    start = span.start + len(covered) - len(covered.lstrip())
    return Span(start, max(start, span.end - len(covered) + len(covered.rstrip())), span.label)


def span_complaints(spans: Sequence[Span], text: str) -> list[str]:
    """What is wrong with the spans of a text: outside of it, empty, crossing or covering each other."""
    complaints = [complaint for span in spans if (complaint := _complaint(span, text))]
    ordered = sorted(spans)
    for first, second in pairwise(ordered):
        if second.start < first.end:
            relation = "lies inside" if second.end <= first.end else "crosses"
            complaints.append(f"the span {second} {relation} the span {first}; one tag a word allows no overlap")
    return complaints


def tag_text(text: str, spans: Sequence[Span], places: Places | None = None, *, segmenter: str = "auto") -> TaggedText:
    """Words and IOB2 tags of a text whose spans are trimmed and do not overlap.

    `places` are its words, where the annotation tool gives them; else `segmenter` finds them. A word that a span cuts is
    cut there, so the spans that the tags describe are exactly those given.
    """
    ordered = sorted(spans)
    words = split_words(text, segmenter) if places is None else places
    borders = sorted({border for span in ordered for border in (span.start, span.end)})
    cut = cut_at_borders(words, borders)
    return TaggedText(cut, _tags(cut, ordered), len(cut) - len(words))


def cut_at_borders(places: Places, borders: Sequence[int]) -> Places:
    """The words, each cut at every border inside it. Both are in order."""
    cut, next_border = [], 0
    for start, end in places:
        while next_border < len(borders) and borders[next_border] < end:
            border = borders[next_border]
            next_border += 1
            if border > start:
                cut.append((start, border))
                start = border
        cut.append((start, end))
    return cut


def find_cut_word(span: Span, text: str) -> str:
    """The word inside which a span begins or ends, in a script that writes spaces between words; empty for none.

    Korean is not among them: particles follow names without a space, and annotations end before them.
    """
    if text.isascii():
        matches = re.compile("[A-Za-z]+").finditer
    else:
        import regex

        matches = regex.compile(WORD, regex.V1).finditer
    for border in (span.start, span.end):
        for word in matches(text, max(0, border - LONGEST_WORD), border + LONGEST_WORD):
            if word.start() < border < word.end():
                return word.group()
    return ""


def _complaint(span: Span, text: str) -> str:
    if not 0 <= span.start <= len(text) or span.end > len(text):
        return f"the span {span} leaves the text, which has {len(text):,} characters"
    if span.end <= span.start or not text[span.start : span.end].strip():
        return f"the span {span} is empty"
    return ""


def _tags(places: Places, spans: Sequence[Span]) -> list[str]:
    tags: list[str] = []
    index = 0
    for start, _ in places:
        while index < len(spans) and spans[index].end <= start:
            index += 1
        inside = index < len(spans) and spans[index].start <= start
        # The word begins its span where it starts at it, or where only white space of the span lies before it.
        begins = inside and (not tags or places[len(tags) - 1][0] < spans[index].start)
        tags.append(f"{'B' if begins else 'I'}-{spans[index].label}" if inside else "O")
    return tags
