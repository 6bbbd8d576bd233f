"""Rows of unequal length as two flat arrays: all values, and the offsets where each row begins.

Row i of `(values, offsets)` is `values[offsets[i]:offsets[i + 1]]`, as in Arrow's lists. Everything that would be a
Python loop over rows is an index array here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]


def offsets_of(lengths: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Offsets (rows + 1,) of rows with these lengths (rows,)."""
    lengths = np.asarray(lengths, dtype=np.int64)
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def ranges(starts: npt.ArrayLike, lengths: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """All of `start, start + 1, ... start + length - 1`, one range after the other, in one flat array.

    >>> ranges([5, 0], [2, 3])
    array([5, 6, 0, 1, 2])
    """
    starts, lengths = np.asarray(starts, dtype=np.int64), np.asarray(lengths, dtype=np.int64)
    offsets = offsets_of(lengths)
    return np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])


def take_rows(values: IntArray, offsets: IntArray, rows: IntArray) -> tuple[IntArray, npt.NDArray[np.int64]]:
    """The chosen rows, in the chosen order and as often as chosen, as `(values, offsets)`."""
    lengths = np.diff(offsets)[rows]
    return values[ranges(offsets[:-1][rows], lengths)], offsets_of(lengths)


def split_rows(columns: Mapping[str, tuple[IntArray, npt.NDArray[np.int64]]]) -> list[dict[str, IntArray]]:
    """Columns of as many rows each as one dictionary a row; the arrays of the rows are parts of those of the columns."""
    parts = {name: np.split(values, offsets[1:-1]) for name, (values, offsets) in columns.items()}
    number = min((len(offsets) - 1 for _, offsets in columns.values()), default=0)
    return [{name: rows[index] for name, rows in parts.items()} for index in range(number)]
