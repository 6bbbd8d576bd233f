"""The page of a table of surprisals: their distribution, conditions with intervals, the texts that surprise most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from finetune.page.folder import RunFolder
from finetune.page.intervals import interval
from finetune.page.parts import Block, Cell, Figure, Section, Sentences, Table
from finetune.page.plots import LINE, MUTED, SERIES, draw, shorten
from finetune.page.surprisal_changes import match_items, show_course, show_matched
from finetune.page.table_files import list_columns, read_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGEST = 200 << 20  # bytes of a compressed table
CONDITIONS_AT_MOST, TEXTS = 12, 20
QUANTILES = (0.05, 0.25, 0.75, 0.95)
OWN = frozenset(
    {
        *(
            "model_name",
            "task",
            "n_params",
            "item",
            "original_text",
            "input_text",
            "input_label",
            "label_text",
            "epoch",
        ),
        *("generated_sequence_type", "word_num", "token_num_in_word", "token", "token_id", "token_is_start_of_word"),
        *("token_is_word", "surprisal", "predicted_token", "predicted_token_id", "predicted_token_surprisal", "loss"),
        *("word_char_start", "word_char_end", "batch_number", "seed", "dataset_type"),
        *("word", "n_tokens", "surprisal_corrected", "n_words", "mean_surprisal", "perplexity"),
    }
)


def make_surprisals(folder: RunFolder) -> list[Section]:
    """A section for each table of surprisals."""
    paths = sorted(folder.path.glob("*-test_results.csv.gz")) + sorted(folder.path.glob("*-test_results.parquet"))
    course = Section("changes", "What training changed", show_course(folder.path, LARGEST))
    return [*(_show(path, number) for number, path in enumerate(paths)), course]


def _show(path: Path, number: int) -> Section:
    section = Section(f"surprisal-{number}", f"Surprisal ({path.name})")
    if path.stat().st_size > LARGEST:
        section.blocks.append(Sentences([f"{path.name} is too large to be drawn here."], "warning"))
        return section
    names = list_columns(path)
    conditions = [name for name in names if name not in OWN]
    keys = [name for name in ("dataset_name", "item", "original_text") if name in names]
    table = read_columns(path, list(dict.fromkeys(["surprisal", *keys, *conditions])))
    table = table.filter(table["surprisal"].is_valid())
    if table.num_rows:
        section.blocks.append(_draw_distribution(table, number))
        section.blocks.extend(_conditions(table, conditions, number))
        section.blocks.extend(_texts(table, keys))
    return section


def _draw_distribution(table: pa.Table, number: int) -> Figure:
    values = table["surprisal"].to_numpy()
    high = float(np.percentile(values, 99.5))

    def paint(axes: Axes) -> None:
        axes.hist(np.minimum(values, high), bins=40, color=SERIES[0])
        axes.set(xlabel="surprisal in bits (the highest 0.5 % in the last bar)", ylabel="rows")

    numbers = f"mean {values.mean():.3f}, median {np.median(values):.3f}, highest {values.max():.2f} bits"
    return draw(f"surprisal_{number}", "Surprisal of all rows", f"Surprisal of {len(values):,} rows: {numbers}.", paint)


def _conditions(table: pa.Table, names: Sequence[str], number: int) -> list[Block]:
    """Each metadata column of few values: means with their 95 % intervals."""
    blocks: list[Block] = []
    for name in names:
        groups = group_values(table, name)
        if 2 <= len(groups) <= CONDITIONS_AT_MOST:
            blocks.append(_draw_condition(name, groups, number))
            rows: list[list[Cell]] = [[label, len(values), *interval(values)] for label, values in groups.items()]
            blocks.append(
                Table(f"Surprisal by {name}", [name, "texts", "mean", "lowest", "highest (95 % interval)"], rows)
            )
            if (found := match_items(table, name, [other for other in names if other != name])) is not None:
                blocks.extend(show_matched(name, *found))
    return blocks


def group_values(table: pa.Table, name: str) -> dict[str, np.ndarray]:
    """The mean surprisal of every text, by a column: rows of a text are not independent, texts are taken to be."""
    keys = [key for key in ("dataset_name", "item") if key in table.column_names and key != name]
    if len(set(table[name].unique().to_pylist())) > CONDITIONS_AT_MOST:
        return {}
    means = table.group_by([*keys, name]).aggregate([("surprisal", "mean")])
    groups: dict[str, list[float]] = {}
    for label, value in zip(means[name].to_pylist(), means["surprisal_mean"].to_pylist(), strict=True):
        groups.setdefault(str(label), []).append(value)
    return {label: np.array(values) for label, values in sorted(groups.items())}


def _draw_condition(name: str, groups: dict[str, np.ndarray], number: int) -> Figure:
    """The middle half and nine tenths of the texts, and over them the mean with its interval."""
    found = [interval(values) for values in groups.values()]
    spreads = [np.quantile(values, QUANTILES).tolist() for values in groups.values()]

    def paint(axes: Axes) -> None:
        for place, ((mean, low, high), (far, near, over, beyond)) in enumerate(zip(found, spreads, strict=True)):
            axes.plot([far, beyond], [place, place], color=LINE, linewidth=3)
            axes.plot([near, over], [place, place], color=MUTED, linewidth=5, solid_capstyle="butt", alpha=0.5)
            axes.plot([low, high], [place, place], color=SERIES[0])
            axes.plot([mean], [place], color=SERIES[0], marker="o")
        axes.set_yticks(range(len(groups)), [shorten(label) for label in groups])
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlabel("bits: mean and its 95 % interval; grey: half, and nine tenths, of the texts")

    said = "; ".join(f"{label} {mean:.3f}" for label, (mean, _, _) in zip(groups, found, strict=True))
    slug = "".join(letter if letter.isalnum() else "_" for letter in name)
    return draw(
        f"surprisal_{number}_{slug}",
        f"Surprisal by {name}",
        f"Surprisal by {name}: {said}",
        paint,
        height=1.2 + 0.32 * len(groups),
    )


def _texts(table: pa.Table, keys: Sequence[str]) -> list[Block]:
    if "original_text" not in keys:
        return []
    sums = table.group_by(list(keys)).aggregate([("surprisal", "mean"), ("surprisal", "count")])
    rows = sums.sort_by([("surprisal_mean", "descending")]).slice(0, TEXTS).to_pylist()
    cells: list[list[Cell]] = [
        [
            str(row["original_text"])[:300],
            row.get("dataset_name"),
            row.get("item"),
            row["surprisal_mean"],
            row["surprisal_count"],
        ]
        for row in rows
    ]
    return [Table("The texts that surprise most", ["text", "file", "item", "mean bits a row", "rows"], cells)]
