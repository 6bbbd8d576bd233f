"""What training rows weigh in the loss, whatever the task: cells of a column -> numbers whose mean is 1.

Weights are relative. A loss is a sum divided by the number of its items, so weights are scaled until they are 1 in the
mean over these: then a row of weight 2 counts as the row twice, and a row of weight 0 as none, also in the division.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from finetune.arguments.nearest import allowed_values
from finetune.errors import DataError, Problem

WEIGHT = "weight"
FLAG = "--weight_column"
ALLOWED = "a number from 0 on is expected"
GREATEST = float(np.finfo(np.float32).max)


def read_weight(value: object) -> float:
    """A cell as a number; NaN where it is none that a row can weigh."""
    try:
        number = math.nan if isinstance(value, bool) else float(cast(str, value))
    except (TypeError, ValueError):
        return math.nan
    return number if 0 <= number <= GREATEST else math.nan


def check_weights(values: Sequence[Any], places: Sequence[Mapping[str, Any]], noun: str = "row") -> list[Problem]:
    """A problem for each cell that is no weight, at its place (`path` and `line`)."""
    numbers = [read_weight(value) for value in values]
    return [
        Problem(f"the weight of the {noun} is {value!r:.60}", ALLOWED, **place)
        for value, number, place in zip(values, numbers, places, strict=True)
        if math.isnan(number)
    ]


def no_such_column(name: str, columns: Iterable[str], where: str = "train", path: Path | None = None) -> Problem:
    """That training rows have no column of that name, with the nearest that they have."""
    return Problem(f"{FLAG} {name}: {where} has no such column", allowed_values(name, list(columns)), path=path)


def describe_weights(weights: Sequence[float], name: str, noun: str = "rows") -> str:
    """How much rows weigh, and how many weigh nothing."""
    idle = sum(weight == 0 for weight in weights)
    words = f"train: {noun} weigh {min(weights):g} to {max(weights):g}, {np.mean(weights):.4g} in the mean"
    return f"{words} ({name}); {idle:,} of {len(weights):,} weigh nothing."


def scale_weights(weights: Sequence[float], items: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Weights (rows,) whose mean over the items of the loss is 1.

    Args:
        weights: of each row, from 0 on.
        items: how many items of the loss each row has, (rows,) or one number for all.

    Raises:
        DataError: all rows that the loss reads weigh nothing.
    """
    own = np.asarray(weights, dtype=np.float64)
    counts = np.broadcast_to(np.asarray(items, dtype=np.float64), own.shape)
    total = float((own * counts).sum())
    if not total:
        raise DataError(Problem("all rows of train weigh nothing", remedy=f"check {FLAG} and --silver_weight"))
    return (own * (counts.sum() / total)).astype(np.float32)
