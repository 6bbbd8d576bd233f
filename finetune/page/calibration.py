"""How far probabilities can be believed, as a plot: of texts, and of the words of a tagger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from finetune.page.parts import Figure
from finetune.page.plots import MUTED, SERIES, add_legend, draw
from finetune.report.calibration import BINS, Bin

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_calibration(bins: Sequence[Bin]) -> Figure:
    """How often predictions of each probability are right; the diagonal is perfect."""
    columns = ([row["count"] for row in bins], [row["probability"] for row in bins], [row["right"] for row in bins])
    sizes, mean, share = (np.asarray(column, dtype=np.float64) for column in columns)
    starts = np.clip(np.ceil(mean * BINS) - 1, 0, BINS - 1) / BINS
    error = float(np.abs(mean - share) @ sizes / sizes.sum())

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", label="perfect")
        axes.bar(starts, sizes / sizes.sum(), 1 / BINS, align="edge", color=SERIES[1], alpha=0.35,
                 label="share of predictions")  # fmt: skip
        axes.plot(mean, share, color=SERIES[0], marker="o", markersize=4, label="right")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="probability that was given", ylabel="share")
        add_legend(axes)

    said = "; ".join(
        f"of about {a:.2f}: {b:.2f} right, {n:,.0f} predictions" for a, b, n in zip(mean, share, sizes, strict=True)
    )
    title = f"How often a given probability comes true (expected calibration error {error:.4f})"
    return draw("calibration", title, f"Calibration. Probability {said}", paint)
