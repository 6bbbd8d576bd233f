"""The data of a run on its page: sizes, lengths, labels, and the fingerprints of the files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.page.folder import RunFolder
from finetune.page.parts import Cell, Figure, Section, Table
from finetune.page.plots import SERIES, add_legend, draw, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS_DRAWN, LABELS_LISTED, BINS = 20, 300, 30
OUTSIDE = "O"


def make_data(folder: RunFolder) -> Section:
    """Sizes, lengths and labels of all splits, and which files they came from."""
    section, data = Section("data", "The data"), folder.data
    splits = {name: facts for name, facts in data.items() if isinstance(facts, dict)}
    section.blocks.extend(_sizes(splits))
    section.blocks.extend(_lengths({n: f["lengths"] for n, f in splits.items() if f.get("lengths")}))
    section.blocks.extend(_labels({n: f["labels"] for n, f in splits.items() if f.get("labels")}))
    section.blocks.extend(_files(folder.manifest.get("inputs") or {}))
    return section


def _sizes(splits: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    rows = []
    for name, facts in splits.items():
        lengths = {int(length): count for length, count in (facts.get("lengths") or {}).items()}
        total = sum(length * count for length, count in lengths.items())
        rows.append(
            [name, facts.get("examples"), sum(lengths.values()) or None, total or None, max(lengths, default=None)]
        )
    headings = ["split", "examples", "rows of subwords", "subwords", "longest row"]
    return [Table("Sizes", headings, rows)] if rows else []


def _lengths(splits: Mapping[str, Mapping[str, int]]) -> list[Figure]:
    """Shares, so that splits of any size can be compared."""
    if not splits:
        return []
    columns = {name: np.array([[int(k), v] for k, v in lengths.items()]) for name, lengths in splits.items()}
    longest = max(int(table[:, 0].max()) for table in columns.values())
    edges = np.unique(np.linspace(0, longest + 1, min(BINS, longest + 1) + 1).astype(int))

    def paint(axes: Axes) -> None:
        for number, (name, table) in enumerate(columns.items()):
            heights, _ = np.histogram(table[:, 0], bins=edges, weights=table[:, 1])
            axes.stairs(heights / heights.sum(), edges, label=name, color=SERIES[number % len(SERIES)], linewidth=1.6)
        axes.set(xlabel="subwords of a row, special tokens included", ylabel="share of rows")
        add_legend(axes)

    means = {name: np.average(table[:, 0], weights=table[:, 1]) for name, table in columns.items()}
    said = "Lengths of rows. Mean: " + ", ".join(f"{name} {mean:.1f}" for name, mean in means.items())
    return [draw("lengths", "Lengths of the rows that the model sees", f"{said}; longest {longest}.", paint)]


def _labels(splits: Mapping[str, Mapping[str, int]]) -> list[Figure | Table]:
    if not splits:
        return []
    names = list(dict.fromkeys(label for counts in splits.values() for label in counts))
    rows: list[list[Cell]] = [[label, *(counts.get(label, 0) for counts in splits.values())] for label in names]
    left = max(0, len(rows) - LABELS_LISTED)
    table = Table("Labels", ["label", *splits], rows[:LABELS_LISTED], left_out=left, folded=len(rows) > 12)
    drawn = [label for label in names if label != OUTSIDE][:LABELS_DRAWN]
    return [*([_label_bars(splits, drawn)] if len(drawn) > 1 else []), table]


def _label_bars(splits: Mapping[str, Mapping[str, int]], labels: list[str]) -> Figure:
    totals = {name: sum(n for label, n in counts.items() if label != OUTSIDE) or 1 for name, counts in splits.items()}
    width = 0.8 / len(splits)

    def paint(axes: Axes) -> None:
        for number, (name, counts) in enumerate(splits.items()):
            places = [place + number * width for place in range(len(labels))]
            shares = [counts.get(label, 0) / totals[name] for label in labels]
            axes.barh(places, shares, height=width * 0.95, label=name, color=SERIES[number % len(SERIES)], align="edge")
        axes.set_yticks([place + 0.4 for place in range(len(labels))], [shorten(label) for label in labels])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("share of labels" + (" other than O" if any(OUTSIDE in c for c in splits.values()) else ""))
        add_legend(axes)

    said = "; ".join(
        f"{label}: " + ", ".join(f"{c.get(label, 0):,} in {n}" for n, c in splits.items()) for label in labels
    )
    height = max(2.2, 0.8 + (0.2 + 0.09 * len(splits)) * len(labels))
    return draw("labels", "How often each label occurs", f"Labels. {said}", paint, height=height)


def _files(inputs: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    rows = [
        [Path(name).name, facts.get("bytes"), facts.get("sha256"), str(Path(name).parent)]
        for name, facts in inputs.items()
    ]
    return [Table("Files that were read", ["file", "bytes", "sha256", "folder"], rows)] if rows else []
