"""The page of a search over hyperparameters: its course, what each hyperparameter did, its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.page.folder import RunFolder
from finetune.page.parts import Cell, Figure, Section, Sentences, Table
from finetune.page.plots import MUTED, SERIES, add_legend, bars, draw, shorten
from finetune.page.table_files import read_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULTS = "optimization_results.csv.gz"
PARAMETER = "params_"
EVALUATORS = {"fanova": "fANOVA", "ped_anova": "PED-ANOVA"}
SLICES_AT_MOST, TRIALS_LISTED, FEWEST = 6, 500, 4
Row = dict[str, Any]


@dataclass(frozen=True)
class Judge:
    """What trials were judged by, and whether it is to be small."""

    name: str = "validation loss"
    is_loss: bool = True
    looks: str = "epochs"  # after each of which it was taken

    def best_of(self, rows: Sequence[Row]) -> Row:
        return min(rows, key=lambda row: row["value"] if self.is_loss else -row["value"])

    @property
    def title(self) -> str:
        return self.name[:1].upper() + self.name[1:]


def _judge(folder: RunFolder) -> Judge:
    result = folder.manifest.get("result")
    if not isinstance(result, dict) or not result.get("metric"):
        return Judge()
    return Judge(f"validation {result['metric']}", result.get("direction") != "maximize", "evaluations")


def make_searched(folder: RunFolder) -> list[Section]:
    """The section that only searches have."""
    path: Path = folder.path / RESULTS
    if not path.is_file():
        return []
    rows = read_columns(path).to_pylist()
    done = [row for row in rows if row.get("state") == "COMPLETE" and row.get("value") is not None]
    names = [name for name in (rows[0] if rows else {}) if name.startswith(PARAMETER)]
    varied = [name for name in names if len({str(row[name]) for row in done}) > 1]
    section, judge = Section("trials", "The trials of the search"), _judge(folder)
    if done:
        section.blocks.append(Sentences(_say_best(done, len(rows), varied, judge), "verdict"))
        section.blocks.append(_draw_course(done, judge))
        section.blocks.extend(_draw_importances(folder.importances))
        section.blocks.extend(_draw_correlations(done, varied, judge))
        section.blocks.extend(_draw_slice(done, name, judge) for name in varied[:SLICES_AT_MOST])
    section.blocks.append(_table(rows, names, judge))
    return [section]


def _say_best(done: Sequence[Row], number: int, varied: Sequence[str], judge: Judge) -> list[str]:
    best = judge.best_of(done)
    chosen = ", ".join(f"{name.removeprefix(PARAMETER)} {_spell(best[name])}" for name in varied)
    of = f"{len(done):,} of {number:,} trials are complete; the best is trial {best['number']}"
    said = f"{of}: {judge.name} {best['value']:.6g}"
    return [said + (f" with {chosen}." if chosen else ".")]


def _spell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _draw_course(done: Sequence[Row], judge: Judge) -> Figure:
    numbers, values = [row["number"] for row in done], [row["value"] for row in done]
    best = (np.minimum if judge.is_loss else np.maximum).accumulate(values)

    def paint(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        axes.scatter(numbers, values, s=18, color=SERIES[0], label="trial")
        axes.step(numbers, best, where="post", color=SERIES[1], label="best so far")
        axes.set(xlabel="trial", ylabel=judge.name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        add_legend(axes)

    winner = judge.best_of(done)["number"]
    said = f"{judge.title} of {len(done)} complete trials; the best is {best[-1]:.4g}, of trial {winner}."
    return draw("search_history", f"{judge.title} by trial", said, paint)


def _draw_importances(found: Mapping[str, Any]) -> list[Figure]:
    """Shares of each hyperparameter by Optuna's evaluators, side by side."""
    evaluators = {EVALUATORS[name]: shares for name, shares in found.items() if name in EVALUATORS and shares}
    names = list(dict.fromkeys(name for shares in evaluators.values() for name in shares))
    if len(names) < 2:
        return []
    height = 0.8 / len(evaluators)

    def paint(axes: Axes) -> None:
        for number, (label, shares) in enumerate(evaluators.items()):
            places = [place + number * height for place in range(len(names))]
            values = [float(shares.get(name, 0.0)) for name in names]
            axes.barh(places, values, height=height * 0.95, label=label, color=SERIES[number], align="edge")
        axes.set_yticks([place + 0.4 for place in range(len(names))], [shorten(name) for name in names])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set(xlim=(0, 1), xlabel="share")
        add_legend(axes)

    said = "; ".join(
        f"{label}: " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        for label, shares in evaluators.items()
    )
    title = (
        "How much each hyperparameter mattered: share of the loss's variance, and of what sets the best trials apart"
    )
    return [draw("search_importances", title, f"{title}. {said}", paint, height=1.2 + 0.32 * len(names))]


def _draw_correlations(done: Sequence[Row], varied: Sequence[str], judge: Judge) -> list[Figure]:
    """How far the values of trials go with each numeric hyperparameter: rank correlations, which few trials leave vague."""
    numeric = [name for name in varied if all(isinstance(row[name], int | float) for row in done)]
    if len(done) < FEWEST or not numeric:
        return []
    from scipy.stats import spearmanr  # half a second, which only pages of searches need

    losses = [row["value"] for row in done]
    found = {name: abs(float(spearmanr([row[name] for row in done], losses).statistic)) for name in numeric}
    ordered = sorted((name for name in found if found[name] == found[name]), key=lambda name: -found[name])
    labels, values = [name.removeprefix(PARAMETER) for name in ordered], [found[name] for name in ordered]
    said = "; ".join(f"{label} {value:.2f}" for label, value in zip(labels, values, strict=True))
    title = f"What the {judge.name} goes with (rank correlation, Spearman)"
    height = max(1.6, 0.7 + 0.27 * len(labels))
    return [
        draw("search_correlations", title, f"{title}: {said}", lambda axes: bars(axes, labels, values), height=height)
    ]


def _draw_slice(done: Sequence[Row], name: str, judge: Judge) -> Figure:
    label, values = name.removeprefix(PARAMETER), [row[name] for row in done]
    is_numeric = all(isinstance(value, int | float) for value in values)
    kinds = [] if is_numeric else list(dict.fromkeys(map(str, values)))
    places = values if is_numeric else [kinds.index(str(value)) for value in values]
    best = judge.best_of(done)

    def paint(axes: Axes) -> None:
        colours = [SERIES[0] if row["value"] != best["value"] else SERIES[1] for row in done]
        axes.scatter(places, [row["value"] for row in done], s=18, color=colours)
        if is_numeric and min(values) > 0 and max(values) / min(values) > 50:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(
                "{x:g}"
            )  # powers of ten would be markup of TeX, which labels are not read as
        if kinds:
            axes.set_xticks(range(len(kinds)), [shorten(kind) for kind in kinds], rotation=20, ha="right")
            axes.set_xlim(-0.5, len(kinds) - 0.5)
        axes.set(xlabel=label, ylabel=judge.name)
        axes.tick_params(colors=MUTED)

    slug = "".join(letter if letter.isalnum() else "_" for letter in label)
    return draw(f"slice_{slug}", f"{judge.title} by {label}", f"By {label}; the best trial has {best[name]}.", paint)


def _table(rows: Sequence[Row], names: Sequence[str], judge: Judge) -> Table:
    shown = ["number", "value", "state", "epochs", "seconds", *names]
    cells: list[list[Cell]] = [[row.get(name) for name in shown] for row in rows[:TRIALS_LISTED]]
    headings = ["trial", judge.name, shown[2], judge.looks, shown[4], *(name.removeprefix(PARAMETER) for name in names)]
    return Table("Every trial", headings, cells, left_out=max(0, len(rows) - TRIALS_LISTED))
