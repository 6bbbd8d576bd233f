"""An exported model beside the one that it was: the same rows through both, and scores where answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

CLOSE = 1e-4  # logits of floats: the greatest difference, over the greatest logit where that is more than 1
LOSS = 0.005  # of the main score, in eight bits: half a point

Logits = Sequence[npt.NDArray[np.float32]]  # of each row, (width of its batch, labels) or (labels,)


@dataclass(frozen=True)
class Comparison:
    """The exported model beside the original: how far logits are apart, and the main score of both where there is one."""

    difference: float
    rows: int
    metric: str | None = None
    scores: tuple[float, float] | None = None  # of the original, of the exported model; the greater the better

    @property
    def loss(self) -> float:
        return 0.0 if self.scores is None else self.scores[0] - self.scores[1]

    def as_dict(self) -> dict[str, Any]:
        """For export_report.json and the last line."""
        told: dict[str, Any] = {"rows": self.rows, "largest_difference_of_logits": self.difference}
        if self.scores is not None:
            told |= {"metric": self.metric, "original": self.scores[0], "exported": self.scores[1]}
        return told


def cut_padding(logits: Logits, lengths: Sequence[int], padding_side: str) -> list[npt.NDArray[np.float32]]:
    """Logits of each row's own subwords, (length, labels); those of whole texts as they are."""
    if padding_side == "left":
        return [row[len(row) - length :] if row.ndim == 2 else row for row, length in zip(logits, lengths, strict=True)]
    return [row[:length] if row.ndim == 2 else row for row, length in zip(logits, lengths, strict=True)]


def find_difference(found: Logits, expected: Logits) -> float:
    """The greatest difference of logits without their padding, over the greatest logit where that is more than 1."""
    apart = [np.abs(ours - theirs).max(initial=0) for ours, theirs in zip(found, expected, strict=True)]
    scale = [np.abs(row).max(initial=0) for row in expected]
    return float(np.max(apart, initial=0) / np.max(scale, initial=1))  # nan stays nan
