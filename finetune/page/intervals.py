"""Intervals of means."""

from __future__ import annotations

import math

import numpy as np

Z = 1.96  # of a 95 % interval


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """The mean of values (n,) with the borders of its 95 % interval by the normal distribution."""
    half = Z * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(values.mean()), float(values.mean()) - half, float(values.mean()) + half
