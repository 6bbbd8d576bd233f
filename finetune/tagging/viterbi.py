"""Constrained decoding: the best sequence of labels in which no tag stands where its scheme forbids it.

Without transition scores this is the most probable legal sequence of independent predictions. With scores learned from
training data it is a hybrid of classifier and Markov chain (Bourlard and Morgan 1994): the classifier's P(label | text)
is divided by the prior P(label), which the chain P(label | label before) brings again, so
`score = sum of log P(y_t | text) + log P(y_t | y_t-1) - log P(y_t)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finetune.encoding.ragged import ranges
from finetune.encoding.tags import TagScheme, Transitions
from finetune.models.probabilities import log_softmax

FORBIDDEN = -1e9  # finite: where no sequence is legal, the one with the fewest illegal places wins
SENTENCES_AT_ONCE = 256


@dataclass(frozen=True)
class TransitionScores:
    """What is added for beginning with a label (labels,), for one after another (before, after), for ending (labels,)."""

    start: NDArray[np.float64]
    pairs: NDArray[np.float64]
    end: NDArray[np.float64]

    def as_table(self) -> list[list[float]]:
        """Rows: each label before, then the beginning; columns: each label after, then the end. For a JSON file."""
        body = np.column_stack([self.pairs, self.end])
        return [*body.tolist(), [*self.start.tolist(), 0.0]]

    @classmethod
    def from_table(cls, table: Sequence[Sequence[float]]) -> TransitionScores:
        """The scores of `as_table`."""
        values = np.array(table, dtype=np.float64)
        return cls(values[-1, :-1], values[:-1, :-1], values[:-1, -1])


def forbid_illegal(
    label_list: Sequence[str], scheme: TagScheme, scores: TransitionScores | None = None
) -> TransitionScores:
    """Transition scores (zeros by default) with `FORBIDDEN` added where the scheme forbids a transition."""
    legal = Transitions(label_list, scheme)
    number = len(label_list)
    scores = scores or TransitionScores(np.zeros(number), np.zeros((number, number)), np.zeros(number))
    return TransitionScores(
        scores.start + np.where(legal.start, 0.0, FORBIDDEN),
        scores.pairs + np.where(legal.pairs, 0.0, FORBIDDEN),
        scores.end + np.where(legal.end, 0.0, FORBIDDEN),
    )


def estimate_transitions(
    ids: ArrayLike, offsets: ArrayLike, number_of_labels: int, *, smoothing: float = 1.0
) -> TransitionScores:
    """Return log P(label | label before) - log P(label) from label ids (words,) of sequences at `offsets`, counts smoothed.

    The borders of a sequence count as one more label, before its first word and after its last.
    """
    ids, offsets = np.asarray(ids, dtype=np.int64), np.asarray(offsets, dtype=np.int64)
    border = number_of_labels
    padded = np.full(len(ids) + len(offsets), border)  # a border before every sequence and one after the last
    padded[np.arange(len(ids)) + np.repeat(np.arange(1, len(offsets)), np.diff(offsets))] = ids
    counts = np.full((border + 1, border + 1), smoothing)
    np.add.at(counts, (padded[:-1], padded[1:]), 1.0)
    conditional = np.log(counts / counts.sum(axis=1, keepdims=True))
    prior = np.log(counts.sum(axis=0) / counts.sum())
    ratio = conditional - prior
    return TransitionScores(ratio[border, :border], ratio[:border, :border], ratio[:border, border])


def decode_constrained(logits: ArrayLike, offsets: ArrayLike, transitions: TransitionScores) -> NDArray[np.int64]:
    """Label ids (words,) of the best sequence of every sentence.

    Parameters
    ----------
    logits
        (words, labels) of all sentences, one after the other.
    offsets
        Where the sentences begin (sentences + 1,).
    transitions
        As `forbid_illegal` makes them.
    """
    logits = np.asarray(logits, dtype=np.float64)
    offsets = np.asarray(offsets, dtype=np.int64)
    emissions = log_softmax(logits)
    lengths = np.diff(offsets)
    decoded = np.empty(len(logits), dtype=np.int64)
    by_length = np.argsort(lengths, kind="stable")  # neighbours of like length waste little padding
    by_length = by_length[lengths[by_length] > 0]
    for start in range(0, len(by_length), SENTENCES_AT_ONCE):
        rows = by_length[start : start + SENTENCES_AT_ONCE]
        words = ranges(offsets[rows], lengths[rows])
        decoded[words] = _decode_batch(emissions[words], lengths[rows], transitions)
    return decoded


def _decode_batch(
    emissions: NDArray[np.float64], lengths: NDArray[np.int64], transitions: TransitionScores
) -> NDArray[np.int64]:
    """Viterbi over sentences of ascending length, whose words (words, labels) follow one another."""
    batch, longest, labels = len(lengths), int(lengths[-1]), emissions.shape[1]
    is_word = np.arange(longest) < lengths[:, None]  # (batch, longest)
    padded = np.zeros((batch, longest, labels))
    padded[is_word] = emissions
    back = np.zeros((batch, longest, labels), dtype=np.int64)
    best = transitions.start + padded[:, 0]  # (batch, labels)
    for step in range(1, longest):
        alive = int(np.searchsorted(lengths, step, side="right"))  # sentences that have this word come last
        candidates = best[alive:, :, None] + transitions.pairs  # (alive, before, after)
        back[alive:, step] = candidates.argmax(axis=1)
        best[alive:] = candidates.max(axis=1) + padded[alive:, step]
    path = np.empty((batch, longest), dtype=np.int64)
    current = (best + transitions.end).argmax(axis=1)
    for step in range(longest - 1, -1, -1):
        path[:, step] = current
        inner = step < lengths
        current = np.where(inner, back[np.arange(batch), step, current], current)
    return path[is_word]
