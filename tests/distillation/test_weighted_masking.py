from __future__ import annotations

import numpy as np
import pytest

from finetune.distillation.weighted_masking import WeightedMasker, smooth_counts

MASK, SPECIALS = 1, [0, 1, 2]


def make_masker(smoothing: float, probability: float = 0.2) -> WeightedMasker:
    counts = np.array([5, 5, 5, 10000, 10000, 16, 0])
    return WeightedMasker(MASK, smooth_counts(counts, smoothing, SPECIALS), probability)


def test_weights_are_smoothed_counts_and_nothing_for_specials():
    weights = smooth_counts(np.array([7, 0, 1, 16]), 0.5, [0])
    assert weights.tolist() == [0.0, 1.0, 1.0, 0.25]


def test_rare_pieces_are_predicted_as_much_more_often_as_their_weights_say():
    """One position of two is drawn, so that its odds are those of the weights: 16 ** -0.5 against 10000 ** -0.5."""
    masker = make_masker(0.5, probability=0.001)
    ids = np.tile([2, 3, 5, 2], (20000, 1))
    _, labels = masker.mask(ids, np.arange(20000), np.full(20000, 4))
    rare, frequent = (labels == 5).sum(), (labels == 3).sum()
    assert rare + frequent == 20000 and rare / 20000 == pytest.approx(0.25 / 0.26, abs=0.01)


def test_the_share_holds_on_average_and_specials_and_padding_never_are_predicted():
    masker = make_masker(0.7)
    ids = np.tile([2, 3, 4, 5, 3, 4, 6, 3, 2, 0, 0], (5000, 1))
    inputs, labels = masker.mask(ids, np.arange(5000), np.full(5000, 9))
    predicted = labels != -100
    assert not predicted[:, [0, 8, 9, 10]].any() and predicted.any(axis=1).all()
    assert predicted.sum() / 5000 == pytest.approx(0.2 * 9, abs=0.03)
    assert (inputs[predicted] == MASK).mean() == pytest.approx(0.8, abs=0.02)
    assert (inputs == ids)[~predicted].all() and (labels[predicted] == ids[predicted]).all()


def test_a_row_is_masked_alike_in_any_batch():
    masker = make_masker(0.7)
    ids = np.tile([2, 3, 4, 5, 3, 4, 6, 3, 2], (4, 1))
    whole = masker.mask(ids, np.arange(4), np.full(4, 9))
    one = masker.mask(ids[2:3], np.array([2]), np.array([9]))
    assert np.array_equal(whole[0][2:3], one[0]) and np.array_equal(whole[1][2:3], one[1])
    padded = masker.mask(np.pad(ids, ((0, 0), (0, 5))), np.arange(4), np.full(4, 9))
    assert np.array_equal(whole[0], padded[0][:, :9]) and np.array_equal(whole[1], padded[1][:, :9])
