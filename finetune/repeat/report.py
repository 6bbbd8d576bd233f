"""The scores of repeated runs as a table on standard output, as CSV and JSON, and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.data.json_values import parse_json
from finetune.page.data import LABELS_LISTED
from finetune.page.folder import judged_split, read_lines
from finetune.page.html import render
from finetune.page.parts import Cell, Figure, Section, Sentences
from finetune.page.parts import Table as Rows
from finetune.page.plots import MUTED, SERIES, draw, shorten
from finetune.repeat.arguments import RepeatArguments
from finetune.repeat.ensemble import EnsembleScore
from finetune.repeat.spread import Finished, Spread, Table
from finetune.repeat.suspects import SUSPECTS
from finetune.report.files import write_text
from finetune.run.manifest import write_json_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "repeat"
HEADINGS = ("split", "score", "mean", "deviation", "95 % interval", "runs", "lowest", "highest")
DRAWN = 20


def list_rows(table: Table) -> list[list[Cell]]:
    """A row for each score of each split."""
    return [_row(split, name, spread) for split, names in table.items() for name, spread in names.items()]


def _row(split: str, name: str, spread: Spread) -> list[Cell]:
    half = spread.half
    interval = "" if half is None else f"{spread.mean - half:.4f} to {spread.mean + half:.4f}"
    numbers: list[Cell] = [len(spread.values), min(spread.values), max(spread.values)]
    return [split, name, spread.mean, spread.deviation, interval, *numbers]


def print_spread(scores: Table) -> None:
    """The table of all scores."""
    for split, name, mean, deviation, interval, *_ in list_rows(scores):
        shown = "" if deviation is None else f" ± {deviation:.4f}  ({interval})"
        print(f"{split:>12} {name:<20} {mean:.4f}{shown}")


@dataclass(frozen=True)
class Scored:
    """What all runs came to: scores of every split, F1 of every class, and the models of all seeds as one."""

    scores: Table
    classes: Table
    ensemble: Sequence[EnsembleScore] = ()


def print_ensemble(ensemble: Sequence[EnsembleScore]) -> None:
    """The models of all seeds as one, beside the mean of the single ones."""
    for score in ensemble:
        print(
            f"{score.split:>12} {score.name:<20} {score.ensemble:.4f} of all models as one (single: {score.mean:.4f})"
        )


def write_repeat(folder: Path, runs: Sequence[Finished], scored: Scored, options: RepeatArguments) -> None:
    """`repeat_results.json`, `repeat_results.csv` and `repeat.html`."""
    scores, classes = scored.scores, scored.classes
    facts = {
        "command": options.command,
        "runs": [{"name": run.name, "seed": run.seed, "fold": run.fold} for run in runs],
        "scores": _as_json(scores),
        "classes": _as_json(classes),
        "ensemble": [asdict(score) for score in scored.ensemble],
    }
    write_json_atomically(folder / "repeat_results.json", facts)
    lines = [",".join(HEADINGS), *(",".join(map(_csv_cell, row)) for row in list_rows(scores))]
    write_text(folder / "repeat_results.csv", "\n".join(lines) + "\n")
    sections = [section for section in _sections(folder, runs, scored) if section.blocks]
    title = f"{options.command}, {len(runs)} runs"
    write_text(folder / "repeat.html", render("page.html", title=title, kind=NAME, sections=sections))


def _as_json(table: Table) -> dict[str, Any]:
    return {split: {name: spread.as_dict() for name, spread in names.items()} for split, names in table.items()}


def _csv_cell(cell: Cell) -> str:
    text = "" if cell is None else str(cell)
    return '"' + text.replace('"', '""') + '"' if any(letter in text for letter in ',"\n') else text


def _sections(folder: Path, runs: Sequence[Finished], scored: Scored) -> list[Section]:
    scores, classes = scored.scores, scored.classes
    summary = Section(
        "summary", "Summary", [Sentences(_say(runs), "verdict"), Rows("Scores", HEADINGS, list_rows(scores))]
    )
    by_class = Section("classes", "F1 of each class")
    if (split := judged_split(classes)) is not None:
        by_class.blocks.append(_draw_spreads("classes", f"F1 of each class ({split})", classes[split]))
        by_class.blocks.append(Rows("F1 of each class", HEADINGS, list_rows(classes)))
    return [summary, _show_ensemble(scored.ensemble), by_class, _show_runs(runs), _show_suspects(folder / SUSPECTS)]


def _show_ensemble(ensemble: Sequence[EnsembleScore]) -> Section:
    """The models of all seeds as one, beside the single ones."""
    section = Section("ensemble", "The models of all seeds as one")
    if not ensemble:
        return section
    said = "Their probabilities are averaged (values too), and the answers that follow are scored; single: one model a seed."
    rows: list[list[Cell]] = [
        [one.split, one.name, one.ensemble, one.mean, min(one.singles), max(one.singles)] for one in ensemble
    ]
    headings = ["split", "score", "as one", "single, mean", "lowest", "highest"]
    section.blocks.extend([Sentences([said]), Rows("As one and single", headings, rows)])
    return section


def _say(runs: Sequence[Finished]) -> list[str]:
    seeds, folds = len({run.seed for run in runs}), len({run.fold for run in runs} - {None})
    words = f"{len(runs)} runs: {seeds} seed{'s' * (seeds > 1)}" + (f", {folds} folds" if folds else "")
    over = "seeds, each the mean of its folds" if folds and seeds > 1 else "folds" if folds else "seeds"
    said = [f"{words}.", f"Mean, deviation and interval (Student's t) are over {over}."]
    if folds:
        said.append("Folds share training data: intervals over folds are too narrow (Bengio and Grandvalet 2004).")
    return said


def _draw_spreads(name: str, title: str, spreads: dict[str, Spread]) -> Figure:
    shown = dict(list(spreads.items())[:DRAWN])

    def paint(axes: Axes) -> None:
        for place, spread in enumerate(shown.values()):
            half = spread.half or 0.0
            axes.plot([spread.mean - half, spread.mean + half], [place, place], color=MUTED)
            axes.scatter(spread.values, [place] * len(spread.values), s=12, color=SERIES[1], alpha=0.7)
            axes.plot([spread.mean], [place], color=SERIES[0], marker="o")
        axes.set_yticks(range(len(shown)), [shorten(label) for label in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel("mean with its 95 % interval, and every value")

    said = "; ".join(f"{label} {spread.mean:.3f}" for label, spread in shown.items())
    return draw(name, title, f"{title}: {said}", paint, height=1.2 + 0.3 * len(shown))


def _show_runs(runs: Sequence[Finished]) -> Section:
    rows: list[list[Cell]] = []
    for run in runs:
        result = run.folder.manifest.get("result") or {}
        split = judged_split({name: values for name, values in result.items() if isinstance(values, dict)})
        values = result.get(split) if split else result
        shown = ", ".join(f"{name} {value:.4f}" for name, value in (values or {}).items() if isinstance(value, float))
        rows.append([run.name, run.seed, run.fold, split or "", shown])
    return Section("runs", "Every run", [Rows("Runs", ["run", "seed", "fold", "split", "scores"], rows)])


def _show_suspects(path: Path) -> Section:
    section = Section("suspects", "Labels that models doubt")
    if not path.is_file():
        return section
    found = [parse_json(line) for line in read_lines(path)]
    rows: list[list[Cell]] = [
        [
            item["example"],
            item["text"][:300],
            item["gold"],
            item["suggested"],
            item["margin"],
            "yes" if item["issue"] else "",
        ]
        for item in found[:LABELS_LISTED]
    ]
    said = (
        f"{sum(item['issue'] for item in found):,} labels are doubtful by confident learning (Northcutt et al. 2021)."
    )
    section.blocks.append(Sentences([said]))
    headings = ["example", "text", "gold", "suggested", "margin", "doubtful"]
    section.blocks.append(Rows("Suspects", headings, rows, left_out=max(0, len(found) - LABELS_LISTED)))
    return section
