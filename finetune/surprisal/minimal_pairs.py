"""Minimal pairs: does a model find the acceptable sentence of each pair less surprising than the other?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class PairScore:
    """Pairs of one paradigm, one field, or all."""

    pairs: int
    correct: int
    ties: int  # equal surprisals: neither sentence wins, so the pair is not correct

    @property
    def accuracy(self) -> float:
        """Share of the pairs that are correct; nan without pairs."""
        return self.correct / self.pairs if self.pairs else float("nan")


def score_pairs(good: npt.ArrayLike, bad: npt.ArrayLike, *, tolerance: float = 0.0) -> PairScore:
    """Accuracy over pairs of sentences (Warstadt et al. 2020, BLiMP): correct where the good one has the lower sum.

    Args:
        good: (pairs,) surprisals of the acceptable sentences, summed over their tokens.
        bad: (pairs,) surprisals of the others.
        tolerance: differences up to this many bits are ties. Rounding differs between batches, so that two equal
            sentences may differ in the last bits of a float.

    Raises:
        ValueError: not as many good ones as bad ones, or a surprisal is not a number.
    """
    good, bad = np.asarray(good, np.float64), np.asarray(bad, np.float64)
    if good.shape != bad.shape:
        raise ValueError(f"{good.shape} acceptable sentences, {bad.shape} others")
    if np.isnan(good).any() or np.isnan(bad).any():
        raise ValueError("a surprisal is not a number")
    difference = np.zeros(good.shape)
    np.subtract(bad, good, out=difference, where=good != bad)  # both may be infinite
    ties = np.abs(difference) <= tolerance
    return PairScore(len(good), int(((difference > 0) & ~ties).sum()), int(ties.sum()))


def score_groups(
    groups: Sequence[str], good: npt.ArrayLike, bad: npt.ArrayLike, *, tolerance: float = 0.0
) -> dict[str, PairScore]:
    """`score_pairs` for the pairs of each group (paradigm, field), in the order in which groups come first."""
    good, bad, names = np.asarray(good), np.asarray(bad), np.asarray(groups, dtype=object)
    return {
        name: score_pairs(good[names == name], bad[names == name], tolerance=tolerance)
        for name in dict.fromkeys(groups)
    }


def macro_accuracy(scores: dict[str, PairScore]) -> float:
    """The mean of the groups' accuracies; nan without groups."""
    return float(np.mean([score.accuracy for score in scores.values()])) if scores else float("nan")
