"""Tests of differences against what can be counted by hand: every exchange, every correction."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from finetune.comparison.counts import macro_f1, mean, micro_f1, pearson
from finetune.comparison.statistics import bootstrap, compare_counts, correct_by_holm, randomise


def counts(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


FIRST = counts((1, 2, 2), (0, 1, 1), (2, 3, 2), (0, 0, 1), (1, 1, 1), (1, 2, 3))
SECOND = counts((2, 2, 2), (1, 1, 1), (1, 3, 2), (1, 1, 1), (1, 1, 1), (2, 2, 3))


def f1_by_hand(rows: list[np.ndarray]) -> float:
    right, predicted, expected = (sum(row[place] for row in rows) for place in range(3))
    return 2 * right / (predicted + expected)


def p_by_enumeration() -> float:
    """Every exchange of every example, written out."""
    observed = abs(f1_by_hand(list(SECOND)) - f1_by_hand(list(FIRST)))
    hits = 0
    exchanges = list(product((False, True), repeat=len(FIRST)))
    for exchange in exchanges:
        sides = [(b, a) if swapped else (a, b) for a, b, swapped in zip(FIRST, SECOND, exchange, strict=True)]
        difference = f1_by_hand([b for _, b in sides]) - f1_by_hand([a for a, _ in sides])
        hits += abs(difference) >= observed - 1e-12
    return hits / len(exchanges)


def test_few_exchanges_are_all_made():
    p, exact = randomise(FIRST, SECOND, micro_f1, 100, np.random.default_rng(0))
    assert exact and p == pytest.approx(p_by_enumeration())


def test_random_exchanges_come_near_to_all_of_them():
    many = np.concatenate([FIRST] * 3), np.concatenate([SECOND] * 3)
    exact, is_exact = randomise(*many, micro_f1, 2**15, np.random.default_rng(0))
    drawn, is_drawn_exact = randomise(*many, micro_f1, 20_000, np.random.default_rng(0))
    assert is_exact and not is_drawn_exact and drawn == pytest.approx(exact, abs=0.01)


def test_runs_that_answer_alike_differ_by_chance():
    found = compare_counts(FIRST, FIRST, micro_f1, method="randomisation", trials=1000, seed=1)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


@pytest.mark.parametrize("method", ["randomisation", "bootstrap"])
def test_a_true_difference_is_found_and_noise_is_not(method):
    generator = np.random.default_rng(3)
    right = [(generator.random(400) < share).astype(float) for share in (0.6, 0.8, 0.6)]
    rows = [np.stack([side, np.ones(400)], axis=1) for side in right]
    better, alike = (compare_counts(rows[0], rows[n], mean, method=method, trials=2000, seed=0) for n in (1, 2))
    assert better.p < 0.01 and better.low > 0 and alike.p > 0.05 and alike.low < 0 < alike.high


def test_p_values_of_noise_are_spread_evenly():
    """Under the null hypothesis one test in ten has p below a tenth."""
    generator = np.random.default_rng(5)
    found = []
    for _ in range(200):
        pair = [np.stack([(generator.random(80) < 0.7).astype(float), np.ones(80)], axis=1) for _ in range(2)]
        found.append(randomise(*pair, mean, 400, generator)[0])
    assert np.mean(np.array(found) <= 0.1) == pytest.approx(0.1, abs=0.06)


def test_the_bootstrap_has_the_spread_of_a_mean():
    generator = np.random.default_rng(0)
    gains = generator.normal(0.1, 1, 500)
    pair = np.stack([np.zeros(500), np.ones(500)], axis=1), np.stack([gains, np.ones(500)], axis=1)
    drawn = bootstrap(*pair, mean, 4000, generator)
    assert drawn.std() == pytest.approx(gains.std() / np.sqrt(500), rel=0.05)


def test_holm_by_hand():
    assert correct_by_holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert correct_by_holm([0.5, 0.9]) == [1.0, 1.0] and correct_by_holm([]) == []


def test_scores_from_sums_are_those_of_scikit_learn():
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(0)
    expected, predicted = generator.integers(0, 4, (2, 50))
    a, b = np.eye(4)[expected], np.eye(4)[predicted]
    sums = np.concatenate([(a * b).sum(0), b.sum(0), a.sum(0)])[None]
    assert macro_f1(sums)[0] == pytest.approx(f1_score(expected, predicted, average="macro"))
    x, y = generator.normal(size=(2, 30))
    flat = np.array([[x.sum(), y.sum(), (x * y).sum(), (x * x).sum(), (y * y).sum(), 30]])
    assert pearson(flat)[0] == pytest.approx(np.corrcoef(x, y)[0, 1])
