"""Minimal pairs: who wins, and that nobody does where both are equal."""

from __future__ import annotations

import math

import pytest

from finetune.surprisal.minimal_pairs import macro_accuracy, score_groups, score_pairs


def test_the_lower_surprisal_wins_and_ties_are_nobodys():
    score = score_pairs([10.0, 12.0, 5.0, math.inf], [11.0, 11.0, 5.0, math.inf])
    assert (score.pairs, score.correct, score.ties) == (4, 1, 2)
    assert score.accuracy == 0.25


def test_tolerance_is_in_bits():
    assert score_pairs([5.0], [5.0 + 1e-6]).correct == 1
    assert score_pairs([5.0], [5.0 + 1e-6], tolerance=1e-4).ties == 1


def test_groups_and_their_mean():
    scores = score_groups(["b", "a", "b"], [1.0, 1.0, 3.0], [2.0, 2.0, 2.0])
    assert list(scores) == ["b", "a"] and scores["b"].accuracy == 0.5 and scores["a"].accuracy == 1.0
    assert macro_accuracy(scores) == 0.75 and math.isnan(macro_accuracy({}))


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="not a number"):
        score_pairs([math.nan], [1.0])
    with pytest.raises(ValueError, match="acceptable"):
        score_pairs([1.0], [1.0, 2.0])
