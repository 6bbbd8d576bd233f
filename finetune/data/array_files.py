"""Arrays in the files of earlier runs (`.npz`): read without pickles, damage told as a problem of the file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.errors import DataError, Problem

# What numpy and zipfile raise for a file that is not whole.
DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_npz(path: Path, *names: str) -> list[npt.NDArray]:
    """The arrays of these names.

    Raises:
        DataError: the file is missing, damaged, or lacks one of them.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            return [np.asarray(found[name]) for name in names]
    except DAMAGE as error:
        reason = str(error).strip() or type(error).__name__
        raise DataError(Problem(f"the arrays cannot be read ({reason})", path=path)) from error


def require_probabilities(
    path: Path, labels: npt.NDArray, probabilities: npt.NDArray, words: int | None = None
) -> npt.NDArray[np.float64]:
    """Probabilities (words, labels) as numbers that can be reckoned with.

    Raises:
        DataError: they are no numbers, or of other sizes than there are words or labels.
    """
    shape, wanted = (
        probabilities.shape,
        (words if words is not None else len(probabilities) if probabilities.ndim else 0),
    )
    if probabilities.dtype.kind != "f" or labels.ndim != 1 or shape != (wanted, len(labels)) or not len(labels):
        found = f"there are probabilities of the shape {shape} ({probabilities.dtype}) for {labels.size:,} labels"
        raise DataError(Problem(found, f"({wanted:,}, {labels.size:,}) numbers are expected", path=path))
    return probabilities.astype(np.float64)
