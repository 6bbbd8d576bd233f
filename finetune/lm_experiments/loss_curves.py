"""Losses of every batch -> `loss_curves.pdf`: the reduced loss, then each loss by itself, training beside validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

matplotlib.use("Agg")

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from finetune.run.atomic_files import AtomicFile

COLORS = {"train": "tab:blue", "validation": "tab:orange"}
FIXED = ("epoch", "batch_number", "dataset_type")


def write_loss_curves(path: Path, losses: pa.Table) -> Path:
    """Draw one page for each loss: batches as dots, means of epochs as points on a line.

    Args:
        path: the PDF.
        losses: columns epoch, batch_number, dataset_type (`train`, `validation`), loss, and one for each loss class.
    """
    with AtomicFile(path) as file, PdfPages(file.stream, metadata={"CreationDate": None}) as pages:
        for name in _distinct(losses):
            pages.savefig(_draw(losses, name))
    return path


def _distinct(losses: pa.Table) -> list[str]:
    """The losses without those that are the reduced one again, as where there is one class only."""
    names = [name for name in losses.column_names if name not in FIXED]
    return [name for name in names if name == names[0] or not losses[name].equals(losses[names[0]])]


def _draw(losses: pa.Table, name: str) -> Figure:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for split, color in COLORS.items():
        rows = losses.filter(pc.equal(losses["dataset_type"], split))
        values = rows[name].to_numpy()
        if np.isfinite(values).any():
            _draw_split(axes, rows, values, label=split, color=color)
    axes.set(xlabel="epoch", ylabel="loss of a batch (nats)", title=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def _draw_split(axes: Any, rows: pa.Table, values: np.ndarray, *, label: str, color: str) -> None:
    """Batches of training over their epoch, its mean in the middle; those of validation at the end, where it is."""
    epochs, batches = rows["epoch"].to_numpy(), rows["batch_number"].to_numpy()
    is_training = label == "train"
    places = epochs - 1 + batches / batches.max() if is_training else epochs
    axes.plot(places, values, ".", color=color, alpha=0.4, markersize=4)
    ends = np.unique(epochs)
    means = [np.nanmean(values[epochs == end]) for end in ends]
    middle = ends - 0.5 if is_training else ends
    axes.plot(middle, means, "o-", color=color, markersize=5, label=f"{label}, mean of the epoch")
