"""Long texts in windows: which part of its text each row reads, and the scores of rows as those of parts of their texts.

Words are those of the text, not of the window: a table numbers and places them as if the text had been read at once.
Where all windows of a text are scored together they are put together again; a window alone stands for the words that it
predicts at least in part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from finetune.encoding.ragged import offsets_of
from finetune.surprisal.row_inference import SlotScores
from finetune.surprisal.word_places import NOWHERE, WordPlaces

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TextWords:
    """Where the words of a text begin, (tokens,), and where each stands."""

    starts: BoolArray
    places: WordPlaces


@dataclass(eq=False)
class WholeText:
    """The ids (tokens,) of a text, which its windows share; `words` is filled when a table first asks for them."""

    ids: IntArray
    words: TextWords | None = None


@dataclass(frozen=True)
class Window:
    """What a row reads: tokens `start` to `end` of a text behind `before` other ids, `width` ids in all.

    Tokens before `own` are there to be read only, because the window before predicts them.
    """

    whole: WholeText
    start: int
    own: int
    end: int
    before: int
    width: int

    def follows(self, other: Window) -> bool:
        return self.whole is other.whole and self.own == other.end


@dataclass(frozen=True)
class ScoredRows:
    """The tokens of rows as they truly are, flat, which of them were asked for, and what the model said of them.

    The slots of `scores` are the tokens, then the end of each row.
    """

    ids: IntArray  # (tokens,)
    offsets: IntArray  # (rows + 1,)
    shown: BoolArray  # (tokens,)
    scores: SlotScores

    @classmethod
    def join(cls, parts: Sequence[ScoredRows]) -> ScoredRows:
        """The rows of several parts of a batch, one after the other."""
        if len(parts) == 1:
            return parts[0]
        sizes = [len(part.ids) for part in parts]
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        joined = {
            name: np.concatenate([values[name][:size] for values, size in zip(map(_fields, parts), sizes, strict=True)]
                                 + [values[name][size:] for values, size in zip(map(_fields, parts), sizes, strict=True)])
            for name in SlotScores.__dataclass_fields__
        }  # fmt: skip
        ids, shown = np.concatenate([part.ids for part in parts]), np.concatenate([part.shown for part in parts])
        return cls(ids, offsets_of(lengths), shown, SlotScores(**joined))


def _fields(part: ScoredRows) -> dict[str, np.ndarray]:
    return vars(part.scores)


@dataclass(frozen=True)
class PlacedRows:
    """Scored rows whose words are those of their texts: the number of the first word of each row, and all words' places."""

    rows: ScoredRows
    starts: BoolArray  # (tokens,) a word begins
    first_words: IntArray | None = None  # (rows,); None: 0
    places: WordPlaces | None = None  # (words,); None: not looked for yet


def group_windows(windows: Sequence[Window] | None, widths: Sequence[int], *, whole: bool) -> IntArray:
    """Offsets (groups + 1,) of rows, `widths` (rows,) ids long, that are one text.

    Each row stands alone without `whole`, and where preprocessing made one of another width than its window's.
    """
    alone = np.arange(len(widths) + 1, dtype=np.int64)
    if windows is None or not whole or [window.width for window in windows] != list(widths):
        return alone
    breaks = [number for number, (left, right) in enumerate(pairwise(windows), start=1) if right.follows(left)]
    return np.delete(alone, breaks)


def join_ids(rows: Sequence[IntArray], windows: Sequence[Window] | None, groups: IntArray) -> list[IntArray]:
    """The ids of each group: those of its windows without the context, and what stands around the text once."""
    joined = []
    for first, end in pairwise(groups.tolist()):
        parts = list(rows[first:end])
        for number, window in enumerate(windows[first:end] if windows is not None and end - first > 1 else ()):
            left = 0 if number == 0 else window.before + window.own - window.start
            right = len(parts[number]) if number == end - first - 1 else window.before + window.end - window.start
            parts[number] = parts[number][left:right]
        joined.append(np.concatenate(parts))
    return joined


@dataclass
class _Placing:
    """Collects the groups of a batch."""

    ids: list[IntArray] = field(default_factory=list)
    shown: list[BoolArray] = field(default_factory=list)
    slots: list[IntArray] = field(default_factory=list)  # of each token: where its scores stand; NOWHERE: nowhere
    ends: list[int] = field(default_factory=list)  # of each group: where the border at its end stands
    first_words: list[int] = field(default_factory=list)
    words: list[WordPlaces | None] = field(default_factory=list)


def place_rows(
    rows: ScoredRows,
    windows: Sequence[Window],
    groups: IntArray,
    words_of: Callable[[WholeText, int], TextWords],
    find_starts: Callable[[IntArray, IntArray], BoolArray],
) -> PlacedRows:
    """The rows of each group as a part of their text that begins and ends where words do.

    Tokens of that part that its windows do not predict have no score and are not shown. A row that preprocessing made
    longer or shorter than its window is taken as it is, with words numbered from the first that it reads.

    Args:
        rows: the scored rows of a batch.
        windows: of each row.
        groups: offsets (groups + 1,) of rows that follow each other in one text.
        words_of: the words of a text, of which this row (its number) is a window.
        find_starts: where words begin in ragged ids, from ids and lengths.
    """
    placing = _Placing()
    for first, end in pairwise(groups.tolist()):
        words = words_of(windows[first].whole, first)
        lengths = np.diff(rows.offsets)[first:end]
        fits = all(
            length == window.end - window.start for length, window in zip(lengths, windows[first:end], strict=True)
        )
        add = _add_part if fits else _add_changed
        add(placing, rows, windows, range(first, end), words)
    ids, slots = np.concatenate(placing.ids), np.concatenate([*placing.slots, placing.ends]).astype(np.int64)
    lengths = np.array([len(part) for part in placing.ids], dtype=np.int64)
    placed = ScoredRows(ids, offsets_of(lengths), np.concatenate(placing.shown), _take(rows.scores, slots))
    starts = find_starts(ids, lengths)
    places = _join_places(placing.words, np.split(starts, placed.offsets[1:-1]))
    return PlacedRows(placed, starts, np.array(placing.first_words, dtype=np.int64), places)


def _add_part(placing: _Placing, rows: ScoredRows, windows: Sequence[Window], members: range, words: TextWords) -> None:
    """The words that the windows of a group predict at least in part."""
    whole, total = windows[members[0]].whole, len(rows.ids)
    own, end = windows[members[0]].own, windows[members[-1]].end
    borders = np.append(np.flatnonzero(words.starts), len(whole.ids))
    left, right = int(borders[borders <= own].max(initial=0)), int(borders[borders >= end].min())
    ids, slots = whole.ids[left:right].copy(), np.full(right - left, NOWHERE, dtype=np.int64)
    shown = np.zeros(right - left, dtype=bool)
    for number in members:
        window, first = windows[number], rows.offsets[number]
        here, there = (
            slice(window.own - left, window.end - left),
            np.arange(window.own, window.end) - window.start + first,
        )
        ids[here], shown[here], slots[here] = rows.ids[there], rows.shown[there], there
    if end < right:  # whether a word ends behind the window is the border in front of the next token
        slots[end - left] = total + members[-1]
    placing.ids.append(ids)
    placing.shown.append(shown)
    placing.slots.append(slots)
    placing.ends.append(NOWHERE if end < right else total + members[-1])
    before = int(words.starts[:left].sum())
    inside = slice(before, before + int(words.starts[left:right].sum()))
    placing.first_words.append(before)
    placing.words.append(WordPlaces(words.places.first[inside], words.places.end[inside]))


def _add_changed(
    placing: _Placing, rows: ScoredRows, windows: Sequence[Window], members: range, words: TextWords
) -> None:
    first, end = int(rows.offsets[members[0]]), int(rows.offsets[members[-1] + 1])
    placing.ids.append(rows.ids[first:end])
    placing.shown.append(rows.shown[first:end])
    placing.slots.append(np.arange(first, end))
    placing.ends.append(len(rows.ids) + members[-1])
    placing.first_words.append(int(words.starts[: windows[members[0]].start + 1].sum()) - 1)
    placing.words.append(None)


def _take(scores: SlotScores, slots: IntArray) -> SlotScores:
    """The scores of some slots; nothing for those that are nowhere."""
    taken = SlotScores.empty(len(slots))
    known = slots != NOWHERE
    for name, values in vars(taken).items():
        values[known] = getattr(scores, name)[slots[known]]
    return taken


def _join_places(known: Sequence[WordPlaces | None], starts: Sequence[BoolArray]) -> WordPlaces:
    """The places of all words; none for rows whose words are not those of the text (others were put there)."""
    counts = [int(begins.sum()) for begins in starts]
    fitting = [
        places if places is not None and len(places.first) == count else WordPlaces(*np.full((2, count), NOWHERE))
        for places, count in zip(known, counts, strict=True)
    ]
    return WordPlaces(
        np.concatenate([places.first for places in fitting]), np.concatenate([places.end for places in fitting])
    )
