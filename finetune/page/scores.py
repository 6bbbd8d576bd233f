"""Scores as tables and plots: of every split, of every class, of what was taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune.page.parts import Block, Cell, Figure, Section, Table
from finetune.page.plots import INK, SERIES, bars, draw, shorten
from finetune.report.class_scores import ClassScore

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS_AT_MOST, MATRIX_AT_MOST, PAIRS_AT_MOST = 30, 16, 200
DARKEST = 0.45  # share of a colour in a cell; the numbers on it are read in the light and in the dark
Confusions = Mapping[tuple[str, str], int]


def table_of_scores(metrics: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """Every plain number of metrics.json, a column for each split."""
    splits = [split for split, values in metrics.items() if any(map(is_number, values.values()))]
    names = dict.fromkeys(name for split in splits for name, value in metrics[split].items() if is_number(value))
    rows: list[list[Cell]] = [[name, *(_number(metrics[split].get(name)) for split in splits)] for name in names]
    return Table("Scores", ["metric", *splits], rows) if rows else None


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float | int | None:
    return value if is_number(value) else None


def show_classes(split: str, classes: Sequence[ClassScore]) -> Section:
    """A bar and a row for each class."""
    section = Section("classes", f"Classes ({split})")
    if not classes:
        return section
    rows: list[list[Cell]] = [[row.label, row.precision, row.recall, row.f1, row.support] for row in classes]
    shown = sorted(classes, key=lambda row: -row.support)[:BARS_AT_MOST]
    shown.sort(key=lambda row: -row.f1)
    section.blocks.append(_class_bars(shown, len(classes)))
    section.blocks.append(Table("Every class", ["class", "precision", "recall", "F1", "support"], rows, shares=True))
    return section


def _class_bars(classes: Sequence[ClassScore], number: int) -> Figure:
    of = f" (the {len(classes)} most frequent of {number})" if number > len(classes) else ""
    said = "; ".join(f"{row.label} {row.f1:.3f} of {row.support:,}" for row in classes)

    def paint(axes: Axes) -> None:
        bars(axes, [row.label for row in classes], [row.f1 for row in classes])
        axes.set_xlim(0, 1.12)

    return draw("classes", f"F1 of each class{of}", f"F1 of each class: {said}", paint, height=_height(len(classes)))


def _height(number: int) -> float:
    return max(1.6, 0.7 + 0.27 * number)


def show_confusions(confusions: Confusions, labels: Sequence[str], what: str) -> list[Block]:
    """A matrix where it fits, and the pairs that are wrong, the most frequent first."""
    labels = [label for label in labels if any(label in pair for pair, count in confusions.items() if count)]
    found = [(e, p, n) for (e, p), n in confusions.items() if e != p and n]
    wrong: list[tuple[Cell, ...]] = [*sorted(found, key=lambda row: -row[2])]
    blocks: list[Block] = []
    if 1 < len(labels) <= MATRIX_AT_MOST:
        blocks.append(_matrix(confusions, labels, what))
    if wrong:
        left = max(0, len(wrong) - PAIRS_AT_MOST)
        headings = ["expected", "predicted", "number"]
        blocks.append(Table(f"{what} taken for another", headings, wrong[:PAIRS_AT_MOST], left_out=left))
    return blocks


def _matrix(confusions: Confusions, labels: Sequence[str], what: str) -> Figure:
    """Each cell as dark as its share of its row."""
    counts = [[confusions.get((row, column), 0) for column in labels] for row in labels]

    def paint(axes: Axes) -> None:
        for place, row in enumerate(counts):
            _paint_row(axes, place, row)
        axes.set_xticks(range(len(labels)), [shorten(label, 14) for label in labels], rotation=45, ha="right")
        axes.set_yticks(range(len(labels)), [shorten(label, 14) for label in labels])
        axes.set(xlim=(-0.5, len(labels) - 0.5), ylim=(len(labels) - 0.5, -0.5), xlabel="predicted", ylabel="expected")
        axes.grid(visible=False)

    right = sum(counts[place][place] for place in range(len(labels)))
    said = f"Confusion matrix of {len(labels)} labels: {right:,} of {sum(map(sum, counts)):,} {what} are right."
    size = max(3.2, 1.4 + 0.36 * len(labels))
    return draw("confusions", f"{what}: expected (rows) and predicted (columns)", said, paint, height=size)


def _paint_row(axes: Axes, place: int, row: Sequence[int]) -> None:
    from matplotlib.patches import Rectangle

    total = sum(row) or 1
    for column, count in enumerate(row):
        colour = SERIES[0] if column == place else SERIES[1]
        patch = Rectangle(
            (column - 0.5, place - 0.5), 1, 1, facecolor=colour, alpha=DARKEST * count / total, linewidth=0
        )
        axes.add_patch(patch)
        if count:
            axes.text(column, place, f"{count:,}", ha="center", va="center", fontsize=8, color=INK)
