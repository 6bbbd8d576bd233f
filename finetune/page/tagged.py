"""The page of a tagger: classes, kinds of errors, confusions, and the sentences with most errors, marked in their text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from finetune.encoding.tags import TagScheme
from finetune.errors import DataError, Problem
from finetune.page.calibration import draw_calibration
from finetune.page.folder import RunFolder, judged_split, read_lines
from finetune.page.parts import Example, Examples, Section, Segment, Sentences, Table
from finetune.page.scores import show_classes, show_confusions
from finetune.report.class_scores import ClassScore
from finetune.tagging.metrics import Spans, Tagging, compare_tags, find_spans, read_types

WORST = 25
OUTSIDE = "O"
SCORES = ("precision", "recall", "f1", "support")
THAI = range(0x0E00, 0x0E80)
KINDS = {
    "exact": "right borders, right type",
    "type": "right borders, wrong type",
    "left_border": "only the left border wrong",
    "right_border": "only the right border wrong",
    "both_borders": "both borders wrong",
    "type_and_border": "type and borders wrong",
    "missed": "expected, nothing predicted there",
    "spurious": "predicted, nothing expected there",
}
Sentence = tuple[list[str], list[str], list[str]]  # words, expected, predicted


def read_tagged(path: Path) -> list[Sentence]:
    """The sentences of a predictions file with their numbers kept; empty where it has no expected tags.

    Raises:
        DataError: the file cannot be read, or its lines have not all the same columns.
    """
    numbered = enumerate(read_lines(path), start=1)
    blocks = (list(rows) for filled, rows in groupby(numbered, key=lambda row: bool(row[1])) if filled)
    sentences = []
    for block in blocks:
        rows = [line.split("\t") for _, line in block]
        fits = [len(row) == len(rows[0]) and all(row[1:]) for row in rows]
        odd = next((number for (number, _), fit in zip(block, fits, strict=True) if not fit), None)
        if odd is not None:
            found = "the line lacks a tag, or has not the columns of the one before"
            raise DataError(Problem(found, "word, expected and predicted tag are expected", path=path, line=odd))
        columns = list(zip(*rows, strict=True))
        if len(columns) != 3:
            return []
        sentences.append((list(columns[0]), list(columns[1]), list(columns[2])))
    return sentences


def make_tagged(folder: RunFolder) -> list[Section]:
    """The sections that only taggers have."""
    files = folder.predictions("conll")
    split = judged_split({name: None for name in files if name in folder.metrics})
    if split is None:
        return []
    metrics = folder.metrics[split]
    classes = read_classes(metrics)
    errors = Section("errors", f"Kinds of errors ({split})")
    errors.blocks.extend(_kinds(metrics))
    pairs = {(row["expected"], row["predicted"]): row["count"] for row in metrics.get("confusions", [])}
    what = "Types" if "lenient" in metrics else "Tags"
    labels = sorted({label for pair in pairs for label in pair}, key=lambda label: (label == OUTSIDE, label))
    errors.blocks.extend(show_confusions(pairs, labels, what))
    sentences = read_tagged(files[split])
    calibration = Section("calibration", f"Calibration of words ({split})")
    if bins := folder.calibration.get(split):
        calibration.blocks.append(draw_calibration(bins))
    return [show_classes(split, classes), errors, calibration, show_worst(split, sentences, _scheme(folder))]


def _scheme(folder: RunFolder) -> TagScheme:
    name = str(folder.settings.get("scheme", TagScheme.IOB2.value))
    return TagScheme(name) if name in set(TagScheme) else TagScheme.IOB2


def read_classes(metrics: dict[str, Any]) -> list[ClassScore]:
    """The per-class scores of metrics.json."""
    scores = metrics.get("lenient") or metrics.get("words")
    found = scores.get("classes") if isinstance(scores, dict) else None
    if not isinstance(found, dict):
        return []
    return [ClassScore(label, *(row[name] for name in SCORES)) for label, row in found.items() if _is_scored(row)]


def _is_scored(row: Any) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(name), int | float) for name in SCORES)


def _kinds(metrics: dict[str, Any]) -> list[Table]:
    counts = metrics.get("span_errors") or {}
    rows = [[name, meaning, counts[name]] for name, meaning in KINDS.items() if name in counts]
    return [Table("Entities by kind of error", ["kind", "what it means", "number"], rows)] if rows else []


@dataclass(frozen=True)
class Marked:
    """Which spans of a side are the other side's, too: (first, last, type, right), by sentence."""

    spans: list[list[tuple[int, int, str, bool]]]

    def wrong(self, sentence: int) -> int:
        return sum(not right for *_, right in self.spans[sentence])


def mark(tagging: Tagging) -> tuple[Marked, Marked]:
    """Expected and predicted spans; tags that spell no spans are spans of one word."""
    sides = [_spans(ids, tagging) for ids in (tagging.expected, tagging.predicted)]
    keys = [set(zip(s.first.tolist(), s.last.tolist(), s.kind.tolist(), strict=True)) for s in sides]
    return _mark(sides[0], keys[1], tagging), _mark(sides[1], keys[0], tagging)


def _names(tagging: Tagging) -> list[str]:
    return list(tagging.label_list) if tagging.scheme is TagScheme.POS else read_types(tagging.label_list)


def _spans(ids: np.ndarray, tagging: Tagging) -> Spans:
    if tagging.scheme is not TagScheme.POS:
        return find_spans(ids, tagging.offsets, tagging.label_list, tagging.scheme)
    wrong = np.flatnonzero(tagging.expected != tagging.predicted)  # right ones would mark every word
    return Spans(wrong, wrong, ids[wrong], np.ones(len(wrong), dtype=bool))


def _mark(side: Spans, others: set[tuple[int, int, int]], tagging: Tagging) -> Marked:
    names, marked = _names(tagging), Marked([[] for _ in range(len(tagging))])
    sentences = np.searchsorted(tagging.offsets, side.first, side="right") - 1
    for row, key in zip(
        sentences.tolist(), zip(side.first.tolist(), side.last.tolist(), side.kind.tolist(), strict=True), strict=True
    ):
        begin = int(tagging.offsets[row])
        marked.spans[row].append((key[0] - begin, key[1] - begin, names[key[2]], key in others))
    return marked


def show_worst(split: str, sentences: Sequence[Sentence], scheme: TagScheme) -> Section:
    """The sentences with most wrong spans, and what is wrong in each."""
    section = Section("worst", f"Worst sentences ({split})")
    if not sentences:
        return section
    _, expected, predicted = zip(*sentences, strict=True)
    sides = mark(compare_tags(predicted, expected, scheme))
    wrong = [sides[0].wrong(row) + sides[1].wrong(row) for row in range(len(sentences))]
    order = sorted((row for row in range(len(sentences)) if wrong[row]), key=lambda row: -wrong[row])
    if not order:
        section.blocks.append(Sentences(["No sentence has an error."], "verdict"))
        return section
    said = f"{len(order):,} of {len(sentences):,} sentences have an error; these have most."
    section.blocks.append(Sentences([said, "A double line under a label: the other side does not say the same."]))
    section.blocks.append(Examples([_example(row, sentences[row][0], sides, wrong[row]) for row in order[:WORST]]))
    return section


def _example(row: int, words: list[str], sides: tuple[Marked, Marked], wrong: int) -> Example:
    lines = [(name, cut(words, side.spans[row])) for name, side in zip(("expected", "predicted"), sides, strict=True)]
    return Example(
        f"Sentence {row + 1:,}, {wrong} wrong labels" if wrong > 1 else f"Sentence {row + 1:,}, 1 wrong label", lines
    )


def cut(words: Sequence[str], spans: Sequence[tuple[int, int, str, bool]], *, all_right: bool = False) -> list[Segment]:
    """The text of a sentence as segments, those of spans labelled."""
    segments, place = [], 0
    gaps = [""] + [_gap(before, after) for before, after in pairwise(words)]

    def text(first: int, end: int) -> str:
        return "".join(gaps[n] * (n > first) + words[n] for n in range(first, end))

    for first, last, label, right in sorted(spans):
        if first > place:
            segments.append(Segment(gaps[place] + text(place, first)))
        segments.append(Segment(gaps[first]))
        segments.append(Segment(text(first, last + 1), label, right or all_right))
        place = last + 1
    return [*segments, Segment((gaps[place] + text(place, len(words))) if place < len(words) else "")]


def _gap(before: str, after: str) -> str:
    """A space between words, but none inside Thai, whose spaces are words of their own."""
    is_thai = ord(before[-1]) in THAI and ord(after[0]) in THAI
    return "" if is_thai or before.isspace() or after.isspace() else " "
