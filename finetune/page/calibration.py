"""How far probabilities can be believed, as a plot: of texts, and of the words of a tagger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from finetune.classification.calibration import BINS
from finetune.page.parts import Figure
from finetune.page.plots import MUTED, SERIES, add_legend, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_calibration(confidence: NDArray[np.float64], outcome: NDArray[np.float64]) -> Figure:
    """How often predictions of each probability are right; the diagonal is perfect."""
    places = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    sizes = np.bincount(places, minlength=BINS)
    filled = np.flatnonzero(sizes)
    mean, share = (np.bincount(places, values, BINS)[filled] / sizes[filled] for values in (confidence, outcome))

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", label="perfect")
        axes.bar(filled / BINS, sizes[filled] / sizes.sum(), 1 / BINS, align="edge", color=SERIES[1], alpha=0.35,
                 label="share of predictions")  # fmt: skip
        axes.plot(mean, share, color=SERIES[0], marker="o", markersize=4, label="right")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="probability that was given", ylabel="share")
        add_legend(axes)

    said = "; ".join(
        f"of about {a:.2f}: {b:.2f} right, {n:,} predictions"
        for a, b, n in zip(mean, share, sizes[filled], strict=True)
    )
    return draw("calibration", "How often a given probability comes true", f"Calibration. Probability {said}", paint)
