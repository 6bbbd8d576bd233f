"""How far probabilities can be believed: predictions of about the same probability counted together."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

BINS = 15


class Bin(TypedDict):
    """Predictions whose probabilities lie in one of `BINS` equal parts: number, mean probability, share of right ones."""

    count: int
    probability: float
    right: float


def count_bins(probabilities: NDArray[np.floating], right: NDArray[np.bool_ | np.floating]) -> list[Bin]:
    """The bins that hold a prediction, the lowest probability first; both arrays are (predictions,).

    A probability on the border of two bins belongs to the lower one, (0, 1/15] being the first (Guo et al. 2017).
    """
    places = np.clip(np.ceil(probabilities * BINS).astype(np.int64) - 1, 0, BINS - 1)
    sizes = np.bincount(places, minlength=BINS)
    sums = [np.bincount(places, np.asarray(values, dtype=np.float64), BINS) for values in (probabilities, right)]
    return [
        Bin(count=int(sizes[n]), probability=float(sums[0][n] / sizes[n]), right=float(sums[1][n] / sizes[n]))
        for n in np.flatnonzero(sizes).tolist()
    ]
