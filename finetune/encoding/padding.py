"""Rows of unequal length -> one array, and the label that no loss reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

IGNORED = -100  # what torch's cross entropy skips: no loss and no metric reads a place with this label


def padded_width(longest: int, max_length: int | None, multiple: int | None) -> int:
    """The width of a batch: its longest row, `max_length` if that is asked for, rounded up to `multiple`."""
    multiple = multiple or 1
    return -(-max(longest, max_length or 0) // multiple) * multiple


def real_positions(lengths: npt.NDArray[np.integer], width: int, padding_side: str = "right") -> npt.NDArray[np.bool_]:
    """Where a padded batch holds real values: (batch, width), from the row lengths (batch,)."""
    columns = np.arange(width)
    if padding_side == "left":
        return columns >= (width - lengths)[:, None]
    return columns < lengths[:, None]


def pad_rows(rows: Sequence[Sequence[int]], is_real: npt.NDArray[np.bool_], value: int) -> npt.NDArray[np.int64]:
    """Rows of numbers as one array (batch, width) that is `value` where nothing real stands."""
    padded = np.full(is_real.shape, value, dtype=np.int64)
    padded[is_real] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    return padded
