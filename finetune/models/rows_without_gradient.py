"""A matrix that is hardly ever read, kept in a file instead of in memory.

XLM-R's embedding takes 0.8 GB in float32; fine-tuning reads the rows that it does not train only to evaluate words that
training did not have, and to save.
"""

from __future__ import annotations

import ctypes
import logging
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

WORTHWHILE = 256 * 2**20  # bytes; smaller ones stay in memory
_ROOM = 2  # the file may take at most this part of what is free


def move_to_file(matrix: Tensor) -> Tensor:
    """`matrix` (on the CPU, float32), mapped from a file without a name if it is large and there is room; else itself.

    The file is in the folder for temporary files ($TMPDIR), belongs to this process alone and vanishes with it.
    """
    size = matrix.numel() * matrix.element_size()
    if size < WORTHWHILE or matrix.dtype != torch.float32:
        return matrix
    try:
        return _map(matrix.contiguous(), size)
    except OSError as error:
        logger.info("The embedding's full_rows rows stay in memory: %s.", error)
        return matrix


def _map(matrix: Tensor, size: int) -> Tensor:
    folder = Path(tempfile.gettempdir())
    if shutil.disk_usage(folder).free < _ROOM * size:
        raise OSError(f"{folder} has no room for {size / 2**20:.0f} MiB")
    with tempfile.NamedTemporaryFile(dir=folder, prefix="finetune-rows-without-gradient-") as file:
        # Written, not assigned through the map: a full disk is an error here and a fatal signal there.
        matrix.numpy().tofile(file)
        file.flush()
        return torch.from_file(file.name, shared=True, size=matrix.numel(), dtype=matrix.dtype).view_as(matrix)


def make_room(matrix: Tensor) -> None:
    """Give freed memory back to the kernel (glibc) before a matrix in a file is read whole, which brings it into memory.

    When a checkpoint is saved, what gradients and activations took is free but kept for the next step: without this, the
    matrix would come on top, and the peak of a run be that of its saving.
    """
    if matrix.numel() * matrix.element_size() < WORTHWHILE or not sys.platform.startswith("linux"):
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
