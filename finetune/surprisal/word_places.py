"""Where words stand in their text: character offsets, by which tables of models with different subwords join.

Tokenizers of the Rust library say which characters each subword comes from, whatever they normalized before. Others do
not; there the words are looked for in the text one after another. White space around a word is not part of it. A word
that cannot be found for sure has no place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from finetune.encoding.subwords import SubwordEncoder, TextSpans

NOWHERE = -1
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class WordPlaces:
    """First character of each word (words,) in its text, counted from 0, and one past its last; -1: not known."""

    first: IntArray
    end: IntArray


def find_word_places(
    encoder: SubwordEncoder,
    texts: Sequence[str],
    rows: Sequence[npt.NDArray[np.integer]],
    starts: Sequence[npt.NDArray[np.bool_]],
    decode: Callable[[npt.NDArray[np.integer]], str],
    special_ids: Collection[int],
) -> WordPlaces:
    """The places of the words of some rows of ids, each of which is of one text.

    Args:
        encoder: what made the ids.
        texts: (rows,).
        rows: ids of each row: those of its text, perhaps cut, with special tokens around them.
        starts: where words begin in each row.
        decode: the text of some ids.
        special_ids: ids that stand for no characters.
    """
    places: list[tuple[int, int]] = []
    spans = encoder.find_spans(texts)
    for text, ids, begins, known in zip(texts, rows, starts, spans, strict=True):
        of_tokens = None if known is None else _spans_of_row(ids, known, special_ids)
        found = _search(_words(ids, begins, decode), text) if of_tokens is None else _join(of_tokens, begins)
        places += [_strip(text, *place) for place in found]
    array = np.array(places, dtype=np.int64).reshape(-1, 2)
    return WordPlaces(array[:, 0], array[:, 1])


def _spans_of_row(ids: npt.NDArray[np.integer], known: TextSpans, special_ids: Collection[int]) -> IntArray | None:
    """The characters (tokens, 2) of a row's subwords: it is the text, its beginning, or one part that occurs once.

    None where the ids are none of these, as after preprocessing.
    """
    inner = np.flatnonzero(~np.isin(ids, list(special_ids)))
    left, right = (int(inner[0]), int(inner[-1]) + 1) if len(inner) else (0, 0)
    if np.array_equal(ids, known.ids[: len(ids)]):  # a special token that the text spells is in it
        left, right = 0, len(ids)
    offset = _find_part(ids[left:right], known.ids)
    if offset is None:
        return None
    spans = np.full((len(ids), 2), NOWHERE, dtype=np.int64)
    spans[left:right] = known.spans[offset : offset + right - left]
    return spans


def _find_part(part: npt.NDArray[np.integer], whole: npt.NDArray[np.integer]) -> int | None:
    """Where a part stands in the whole: in front, else at the only place where it does."""
    if np.array_equal(part, whole[: len(part)]):
        return 0
    places = [
        start for start in np.flatnonzero(whole == part[0]) if np.array_equal(part, whole[start : start + len(part)])
    ]
    return int(places[0]) if len(places) == 1 else None


def _join(spans: IntArray, begins: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """The characters of words from those of their subwords."""
    edges = [*np.flatnonzero(begins).tolist(), len(begins)] if len(begins) else []
    for first, end in pairwise(edges):
        known = spans[first:end][spans[first:end, 0] != NOWHERE]
        yield (int(known[:, 0].min()), int(known[:, 1].max())) if len(known) else (NOWHERE, NOWHERE)


def _words(
    ids: npt.NDArray[np.integer], begins: npt.NDArray[np.bool_], decode: Callable[[npt.NDArray[np.integer]], str]
) -> list[str]:
    parts = np.split(ids, np.flatnonzero(begins)[1:]) if len(ids) else []
    return [decode(part).strip() for part in parts]


def _strip(text: str, first: int, end: int) -> tuple[int, int]:
    """The same characters without white space around them, unless there is nothing else."""
    inside = text[max(first, 0) : max(end, 0)]
    if not inside.strip():
        return first, end
    return first + len(inside) - len(inside.lstrip()), end - len(inside) + len(inside.rstrip())


def _search(words: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Words looked for in turn, each right behind the one before it; one that is not there may fill a gap between others."""
    places: list[tuple[int, int]] = []
    lowered = text.lower() if len(text.lower()) == len(text) else text
    cursor, is_lost = 0, False
    for word in words:
        start = _next_place(word, text, lowered, cursor, anywhere=is_lost)
        is_lost = start is None
        places.append((NOWHERE, NOWHERE) if start is None else (start, start + len(word)))
        cursor = cursor if start is None else start + len(word)
    return _fill_gaps(places)


def _next_place(word: str, text: str, lowered: str, cursor: int, *, anywhere: bool) -> int | None:
    """Right behind the cursor; `anywhere`: at the only place behind it."""
    for said, where in ((word, text), (word.lower(), lowered)):
        start = where.find(said, cursor) if said else -1
        if start >= 0:
            is_sure = where.find(said, start + 1) < 0 if anywhere else not text[cursor:start].strip()
            return start if is_sure else None
    return None


def _fill_gaps(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """A single word without a place, between two that have theirs, is all that stands between them."""
    filled = list(places)
    for number, (first, _) in enumerate(places):
        beside = places[number - 1 : number + 2] if number else []
        if len(beside) == 3 and first == NOWHERE and NOWHERE not in (beside[0][1], beside[2][0]):
            filled[number] = (beside[0][1], beside[2][0])
    return filled
