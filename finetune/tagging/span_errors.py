"""Where a tagger goes wrong: borders, types, spans that it misses and spans that it invents.

Predicted and expected spans are matched one to one: those with the same borders first, then those that overlap, the same
type before another, a longer overlap before a shorter one. Every expected span is in exactly one class, `missed` if nothing
was matched to it; every predicted span that is left is `spurious`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetune.encoding.ragged import ranges
from finetune.tagging.metrics import Spans, Tagging, find_spans, read_types

ERROR_CLASSES = (
    "exact",
    "type",
    "left_border",
    "right_border",
    "both_borders",
    "type_and_border",
    "missed",
    "spurious",
)


@dataclass(frozen=True)
class SpanMatches:
    """Lenient spans of both sides and the pairs among them: `pairs` (pairs, 2) = indices of expected and predicted."""

    expected: Spans
    predicted: Spans
    pairs: NDArray[np.int64]
    types: list[str]

    def unmatched(self, side: int) -> NDArray[np.int64]:
        """Indices of the expected (side 0) or the predicted (side 1) spans that are in no pair."""
        number = len(self.predicted if side else self.expected)
        return np.setdiff1d(np.arange(number), self.pairs[:, side])


def match_spans(tagging: Tagging) -> SpanMatches:
    """Match predicted to expected spans, both read leniently."""
    expected, predicted = (
        find_spans(ids, tagging.offsets, tagging.label_list, tagging.scheme)
        for ids in (tagging.expected, tagging.predicted)
    )
    overlaps = _overlapping(expected, predicted)  # (overlaps, 2)
    left, right = expected.select(overlaps[:, 0]), predicted.select(overlaps[:, 1])
    length = np.minimum(left.last, right.last) - np.maximum(left.first, right.first) + 1
    same_borders = (left.first == right.first) & (left.last == right.last)
    order = np.lexsort((overlaps[:, 1], overlaps[:, 0], -length, left.kind != right.kind, ~same_borders))
    return SpanMatches(expected, predicted, _take_greedily(overlaps[order]), read_types(tagging.label_list))


def _overlapping(expected: Spans, predicted: Spans) -> NDArray[np.int64]:
    """All pairs of spans that share a word, as indices (pairs, 2). Spans of one side are sorted and do not overlap."""
    low = np.searchsorted(predicted.last, expected.first, side="left")
    high = np.searchsorted(predicted.first, expected.last, side="right")
    number = np.maximum(high - low, 0)
    return np.stack([np.repeat(np.arange(len(expected)), number), ranges(low, number)], axis=1)


def _take_greedily(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    used_left: set[int] = set()
    used_right: set[int] = set()
    taken = []
    for left, right in pairs.tolist():
        if left not in used_left and right not in used_right:
            used_left.add(left)
            used_right.add(right)
            taken.append((left, right))
    return np.array(taken, dtype=np.int64).reshape(-1, 2)


def count_span_errors(matches: SpanMatches) -> dict[str, int]:
    """How many spans are in each of `ERROR_CLASSES`.

    `left_border`, `right_border` and `both_borders` have the right type; `type` has the right borders. All classes but
    `spurious` add up to the expected spans, all but `missed` to the predicted ones.
    """
    left, right = matches.expected.select(matches.pairs[:, 0]), matches.predicted.select(matches.pairs[:, 1])
    wrong_left, wrong_right = left.first != right.first, left.last != right.last
    same_type, same_borders = left.kind == right.kind, ~wrong_left & ~wrong_right
    masks = {
        "exact": same_type & same_borders,
        "type": ~same_type & same_borders,
        "left_border": same_type & wrong_left & ~wrong_right,
        "right_border": same_type & ~wrong_left & wrong_right,
        "both_borders": same_type & wrong_left & wrong_right,
        "type_and_border": ~same_type & ~same_borders,
    }
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    return counts | {"missed": len(matches.unmatched(0)), "spurious": len(matches.unmatched(1))}


def count_type_confusions(matches: SpanMatches) -> dict[tuple[str, str], int]:
    """How often an expected type was predicted as which, for matched spans; `O` stands for no span.

    Keys are (expected, predicted), right ones included, sorted by count.
    """
    types = np.array([*matches.types, "O"], dtype=object)
    expected = matches.expected.kind[np.concatenate([matches.pairs[:, 0], matches.unmatched(0)])]
    predicted = matches.predicted.kind[np.concatenate([matches.pairs[:, 1], matches.unmatched(1)])]
    number = len(matches.pairs)
    confusions: Counter[tuple[str, str]] = Counter()
    confusions.update(zip(types[expected[:number]], types[predicted[:number]], strict=True))
    confusions.update((kind, "O") for kind in types[expected[number:]])
    confusions.update(("O", kind) for kind in types[predicted[number:]])
    return dict(sorted(confusions.items(), key=lambda item: (-item[1], item[0])))
