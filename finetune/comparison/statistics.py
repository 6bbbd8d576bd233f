"""Is a difference of two runs on the same examples more than chance? Tests on scores that sums over examples determine.

- approximate randomisation (Noreen 1989, "Computer-Intensive Methods for Testing Hypotheses"; for F1: Yeh 2000, "More
  accurate tests for the statistical significance of result differences"): were both runs alike, their answers to each
  example could be exchanged. p is the share of exchanges whose difference is at least as large, (hits + 1) / (trials + 1);
  where all exchanges are no more than `trials`, each is made once and p is exact
- the paired bootstrap (Efron and Tibshirani 1993; Berg-Kirkpatrick, Burkett and Klein 2012): examples are drawn again
  with replacement; its percentiles are the interval, and p the share of differences as far from the observed one
  as that is from zero
- Holm's correction (1979): the chance of any error over several tests stays below alpha
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Score = Callable[[Array], Array]  # sums (trials, counts) -> scores (trials,)

CELLS_AT_ONCE = 1 << 22
TOLERANCE = 1e-12


@dataclass(frozen=True)
class Difference:
    """`second` - `first`, its interval (95 %) and its p-value; `exact` where every exchange was made."""

    first: float
    second: float
    low: float
    high: float
    p: float
    exact: bool

    @property
    def value(self) -> float:
        return self.second - self.first


def compare_counts(first: Array, second: Array, score: Score, *, method: str, trials: int, seed: int) -> Difference:
    """Compare two runs by the counts (examples, counts) of each on the same examples."""
    before, after = (float(score(side.sum(axis=0)[None])[0]) for side in (first, second))
    generator = np.random.default_rng(seed)
    drawn = bootstrap(first, second, score, trials, generator)
    low, high = np.percentile(drawn, (2.5, 97.5))
    value, exact = after - before, False
    if method == "bootstrap":
        p: float = (np.count_nonzero(np.abs(drawn - value) >= abs(value) - TOLERANCE) + 1) / (trials + 1)
    else:
        p, exact = randomise(first, second, score, trials, generator)
    return Difference(before, after, float(low), float(high), min(float(p), 1.0), exact)


def randomise(
    first: Array, second: Array, score: Score, trials: int, generator: np.random.Generator
) -> tuple[float, bool]:
    """The p-value of an exchange of answers, and whether it is exact; examples of equal counts change nothing."""
    moved = (second - first)[(first != second).any(axis=1)]  # (examples that differ, counts)
    sums = first.sum(axis=0), second.sum(axis=0)
    observed = abs(_difference(sums[0][None], sums[1][None], score)[0])
    exact = len(moved) < 63 and 2 ** len(moved) <= trials
    number, hits = 2 ** len(moved) if exact else trials, 0
    masks = _all_masks(len(moved)) if exact else _random_masks(len(moved), trials, generator)
    for mask in masks:
        change = mask @ moved
        differences = np.abs(_difference(sums[0] + change, sums[1] - change, score))
        hits += int(np.count_nonzero(differences >= observed - TOLERANCE))
    return (hits / number, True) if exact else ((hits + 1) / (trials + 1), False)


def _all_masks(width: int) -> Iterator[Array]:
    yield ((np.arange(2**width)[:, None] >> np.arange(width)) & 1).astype(np.float64)


def _random_masks(width: int, trials: int, generator: np.random.Generator) -> Iterator[Array]:
    for size in _portions(trials, width):
        yield generator.integers(0, 2, (size, width)).astype(np.float64)


def _portions(trials: int, width: int) -> Iterator[int]:
    at_once = max(1, CELLS_AT_ONCE // max(1, width))
    yield from (min(at_once, trials - begin) for begin in range(0, trials, at_once))


def bootstrap(first: Array, second: Array, score: Score, trials: int, generator: np.random.Generator) -> Array:
    """Differences (trials,) over examples that are drawn with replacement, the same for both runs."""
    number = len(first)
    found = []
    for size in _portions(trials, number):
        drawn = generator.integers(0, number, (size, number))
        rows = np.arange(size)[:, None] * number
        weights = np.bincount((drawn + rows).ravel(), minlength=size * number).reshape(size, number).astype(np.float64)
        found.append(_difference(weights @ first, weights @ second, score))
    return np.concatenate(found)


def _difference(first: Array, second: Array, score: Score) -> Array:
    return score(second) - score(first)


def correct_by_holm(values: Sequence[float]) -> list[float]:
    """p-values as Holm corrects them, in their order: each can be held against alpha as if it were the only one.

    >>> correct_by_holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, highest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, values[place] * (len(values) - rank)))
        corrected[place] = highest
    return corrected
