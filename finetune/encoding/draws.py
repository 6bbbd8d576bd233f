"""Random numbers that are a pure function of what they are for.

A generator with a state gives other numbers when work is cut into other batches, spread over processes or resumed. Here
a number is the hash of its place: SplitMix64 (Steele, Lea & Flood 2014) used as a counter-based generator, over whole
arrays.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

GAMMA = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio, odd
MASK = (1 << 64) - 1

Bits = npt.NDArray[np.uint64]


def mix(values: Bits) -> Bits:
    """The output function of SplitMix64 (Stafford's variant 13): every bit of the result depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def draw_number(*parts: int) -> int:
    """One number in [0, 2**63) that all of `parts` decide, such as a seed, an epoch and an index."""
    state = 0
    for part in parts:
        state = int(mix(np.array([(state + part * GAMMA + GAMMA) & MASK], dtype=np.uint64))[0])
    return state >> 1


def draw_bits(draws: npt.ArrayLike, count: int) -> Bits:
    """`count` random 64-bit numbers for each of `draws` (rows,): result (rows, count)."""
    starts = np.asarray(draws, dtype=np.uint64)[:, None]
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GAMMA)
    return mix(mix(starts) + steps)


def below(bits: Bits, limit: int | npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Whole numbers in [0, limit) from the upper 32 bits (multiply and shift); `limit` at most 2**31."""
    return ((bits >> np.uint64(32)) * np.asarray(limit, dtype=np.uint64) >> np.uint64(32)).astype(np.int64)


def as_fraction(bits: Bits) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1) from the upper 53 bits."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
