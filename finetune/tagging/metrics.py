"""Predicted and expected tags of words -> entity-level scores.

Two ways to read spans, each named wherever a number of it is shown (Nakayama 2018, seqeval):

- lenient (seqeval's default, CoNLL's conlleval): a span begins wherever its type begins, be the tag a `B-` or an `I-`
- strict (seqeval's `mode="strict"` on IOB2): a span without a well formed begin is none

Spans are found with arrays over the whole split, so that scoring during training costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finetune.encoding.padding import IGNORED
from finetune.encoding.ragged import offsets_of
from finetune.encoding.tags import TagScheme, legal_begins, split_tag
from finetune.report.class_scores import ClassScore

LENIENT, STRICT, WORDS = "lenient", "strict", "words"

# What the last line of a command shows, by whether tags spell entities.
MAIN_METRICS = {True: ("f1_micro", "precision_micro", "recall_micro"), False: ("accuracy", "f1_macro")}


@dataclass(frozen=True)
class Tagging:
    """Predicted and expected label ids (words,) of sequences that begin at the words `offsets` (sequences + 1,)."""

    predicted: NDArray[np.int64]
    expected: NDArray[np.int64]
    offsets: NDArray[np.int64]
    label_list: Sequence[str]
    scheme: TagScheme = TagScheme.IOB2

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Spans:
    """Spans as arrays (spans,), in their order: first and last word, counted through all sequences, type, begin.

    `kind` is an index into the sorted types, `well_formed` whether the begin is legal in the scheme.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    kind: NDArray[np.int64]
    well_formed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)

    def select(self, chosen: NDArray) -> Spans:
        """The spans of a mask or of indices."""
        return Spans(self.first[chosen], self.last[chosen], self.kind[chosen], self.well_formed[chosen])


@dataclass(frozen=True)
class TagScores:
    """Scores of one reading (`mode`): per class (types or tags that occur, sorted), and averaged over classes or counts.

    `accuracy` is that of single tags, `nb_samples` the number of sequences.
    """

    mode: str
    classes: list[ClassScore]
    micro: ClassScore
    macro: ClassScore
    weighted: ClassScore
    accuracy: float
    nb_samples: int

    def as_dict(self) -> dict[str, float]:
        """The keys of thai2transformers' report."""
        return {
            "accuracy": self.accuracy,
            "f1_macro": self.macro.f1,
            "f1_micro": self.micro.f1,
            "nb_samples": self.nb_samples,
            "precision_macro": self.macro.precision,
            "precision_micro": self.micro.precision,
            "recall_macro": self.macro.recall,
            "recall_micro": self.micro.recall,
        }


def compare_tags(
    predicted: Sequence[Sequence[str]], expected: Sequence[Sequence[str]], scheme: TagScheme = TagScheme.IOB2
) -> Tagging:
    """Names of tags, one list per sentence, as arrays that the scores take.

    Raises
    ------
    ValueError
        Predictions and references differ in number or length.
    """
    lengths = [len(tags) for tags in expected]
    if [len(tags) for tags in predicted] != lengths:
        raise ValueError("predicted and expected tags differ in the number of sentences or of words")
    label_list = sorted({*chain.from_iterable(predicted), *chain.from_iterable(expected)})
    ids = {label: index for index, label in enumerate(label_list)}

    def flat(sequences: Sequence[Sequence[str]]) -> NDArray[np.int64]:
        return np.array([ids[tag] for tag in chain.from_iterable(sequences)], dtype=np.int64)

    return Tagging(flat(predicted), flat(expected), offsets_of(lengths), label_list, scheme)


def read_types(label_list: Iterable[str]) -> list[str]:
    """Types of spans among the labels, sorted."""
    return sorted({split_tag(label)[1] for label in label_list} - {""})


def find_spans(
    ids: ArrayLike, offsets: ArrayLike, label_list: Sequence[str], scheme: TagScheme = TagScheme.IOB2
) -> Spans:
    """Spans of label ids (words,), read leniently in any scheme; the strict ones are those that are `well_formed`."""
    ids, offsets = np.asarray(ids, dtype=np.int64), np.asarray(offsets, dtype=np.int64)
    types = {kind: index for index, kind in enumerate(read_types(label_list))}
    parts = [split_tag(label) for label in label_list]
    kind_of = np.array([types.get(kind, -1) for _, kind in parts], dtype=np.int64)
    kind = kind_of[ids]
    begins, closes, legal = (
        np.array([letter in letters for letter, _ in parts], dtype=bool)[ids]
        for letters in ("BSU", "ESLU", legal_begins(scheme))
    )
    kind_before, closed_before = _shift(kind, offsets, -1), _shift(closes, offsets, False)
    start = (kind >= 0) & (begins | closed_before | (kind != kind_before))
    goes_on = (kind >= 0) & ~start
    first = np.flatnonzero(start)
    last = np.flatnonzero((kind >= 0) & ~np.append(goes_on, False)[1:])
    touches = kind_before[first] == kind[first]  # its begin cannot but be right: the span before it is closed
    return Spans(first, last, kind[first], legal[first] | touches)


def _shift(values: NDArray, offsets: NDArray[np.int64], border: int | bool) -> NDArray:
    """The value one word before, `border` at the begin of each sequence."""
    before = np.empty_like(values)
    before[1:] = values[:-1]
    before[offsets[:-1][np.diff(offsets) > 0]] = border
    return before


def score_spans(tagging: Tagging, *, strict: bool = False) -> TagScores:
    """Precision, recall and F1 of spans: right are those with both borders and the type right.

    Precision or recall that is undefined counts as 0, as in seqeval.
    """
    predicted, expected = (
        find_spans(ids, tagging.offsets, tagging.label_list, tagging.scheme)
        for ids in (tagging.predicted, tagging.expected)
    )
    if strict:
        predicted, expected = predicted.select(predicted.well_formed), expected.select(expected.well_formed)
    types = read_types(tagging.label_list)
    words = len(tagging.expected)
    correct = np.isin(_keys(predicted, words, len(types)), _keys(expected, words, len(types)))
    counts = np.stack(
        [np.bincount(kinds, minlength=len(types)) for kinds in (predicted.kind[correct], predicted.kind, expected.kind)]
    )  # (correct predicted expected, types)
    present = np.flatnonzero(counts[1] + counts[2])
    rows = [_class_score(types[kind], *counts[:, kind].tolist()) for kind in present]
    return TagScores(
        mode=STRICT if strict else LENIENT,
        classes=rows,
        micro=_class_score("micro avg", *counts.sum(axis=1).tolist()),
        macro=_average("macro avg", rows, [1] * len(rows)),
        weighted=_average("weighted avg", rows, [row.support for row in rows]),
        accuracy=float(np.mean(tagging.predicted == tagging.expected)) if len(tagging.expected) else 0.0,
        nb_samples=len(tagging),
    )


def _keys(spans: Spans, words: int, types: int) -> NDArray[np.int64]:
    """One number per span that tells its borders and its type."""
    return (spans.first * words + spans.last) * types + spans.kind


def _class_score(label: str, correct: int, predicted: int, expected: int) -> ClassScore:
    precision = correct / predicted if predicted else 0.0
    recall = correct / expected if expected else 0.0
    total = precision + recall
    return ClassScore(label, precision, recall, 2 * precision * recall / total if total else 0.0, expected)


def _average(label: str, rows: Sequence[ClassScore], weights: Sequence[int]) -> ClassScore:
    table = np.array([[row.precision, row.recall, row.f1] for row in rows]).reshape(-1, 3)
    averages = np.average(table, axis=0, weights=weights) if sum(weights) else np.zeros(3)
    precision, recall, f1 = averages.tolist()
    return ClassScore(label, precision, recall, f1, sum(row.support for row in rows))


SUBWORD_METRICS = ("precision", "recall", "f1", "accuracy")


def score_subwords(
    predicted: ArrayLike, labels: ArrayLike, label_list: Sequence[str], scheme: TagScheme = TagScheme.IOB2
) -> dict[str, float]:
    """Overall metrics as of seqeval metrics over the labelled subwords: watched during training, not reported.

    Takes label ids (rows, width) of predictions and labels; places with the label -100 do not count. Windows and every
    labelled subword of a word count by themselves, so these metrics are not those of the final, word-level report.
    """
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    counted = labels != IGNORED
    tagging = Tagging(
        predicted[counted].astype(np.int64),
        labels[counted].astype(np.int64),
        offsets_of(counted.sum(axis=1)),
        label_list,
        scheme,
    )
    scores = score_spans(tagging)
    metrics = (scores.micro.precision, scores.micro.recall, scores.micro.f1, scores.accuracy)
    return dict(zip(SUBWORD_METRICS, metrics, strict=True))


def name_tags(ids: ArrayLike, offsets: ArrayLike, label_list: Sequence[str]) -> list[list[str]]:
    """Names of label ids (words,), one list per sequence."""
    names = [label_list[index] for index in np.asarray(ids).tolist()]
    return [names[start:end] for start, end in pairwise(np.asarray(offsets).tolist())]
