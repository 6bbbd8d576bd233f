"""Curves of a training: losses, metrics of validation, learning rate, and whatever else was logged by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune.page.folder import RunFolder
from finetune.page.parts import Figure, Section, Table
from finetune.page.plots import SERIES, add_legend, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[list[float], list[float]]
METRICS_SHOWN = 4
NO_SCORES = ("perplexity", "runtime", "per_second", "loss", "nb_samples", "jit_compilation_time")
FURTHER = {
    "learning_rate": "Learning rate",
    "grad_norm": "Norm of the gradient",
    "tokens_per_second": "Real tokens a second",
    "mfu": "Share of the machine's measured matrix rate (MFU)",
}


def find_curve(history: Sequence[Mapping[str, Any]], name: str) -> Curve:
    """The steps at which a number was logged, and the numbers; those that are not finite were logged as null."""
    points = [(entry["step"], entry[name]) for entry in history if isinstance(entry.get(name), int | float)]
    return [float(step) for step, _ in points], [float(value) for _, value in points]


def list_metrics(history: Sequence[Mapping[str, Any]], first: str) -> list[str]:
    """Metrics of validation by the names they were logged with, the one that chose the checkpoint first."""
    names = dict.fromkeys(name for entry in history for name in entry if name.startswith("eval_"))
    scores = [name for name in names if not name.endswith(NO_SCORES)]
    return sorted(scores, key=lambda name: name != f"eval_{first}")[:METRICS_SHOWN]


def make_curves(folder: RunFolder) -> Section:
    """The section of the training's course; empty where nothing was logged."""
    section, history = Section("training", "The course of training"), folder.history
    chosen = folder.manifest.get("chosen_checkpoint") or {}
    losses = {"training": find_curve(history, "loss"), "validation": find_curve(history, "eval_loss")}
    metrics = {n.removeprefix("eval_"): find_curve(history, n) for n in list_metrics(history, chosen.get("metric", ""))}
    best = _chosen_step(chosen)
    section.blocks.extend(_figure("loss", "Loss by step", losses, best))
    section.blocks.extend(_figure("validation_metrics", "Scores of validation by step", metrics, best))
    for name, title in FURTHER.items():
        curve = find_curve([*history, *folder.progress], name)
        section.blocks.extend(_figure(name, f"{title} by step", {title.lower(): curve}, None))
    if section.blocks:
        section.blocks.append(_table(history))
    return section


def _chosen_step(chosen: Mapping[str, Any]) -> int | None:
    name = str(chosen.get("name", ""))
    return int(name.rpartition("-")[2]) if name.startswith("checkpoint-") and name[11:].isdigit() else None


def _figure(name: str, title: str, curves: Mapping[str, Curve], best: int | None) -> list[Figure]:
    curves = {label: curve for label, curve in curves.items() if curve[0]}
    if not curves or (len(curves) == 1 and name != "loss" and all(len(curve[0]) < 2 for curve in curves.values())):
        return []

    def paint(axes: Axes) -> None:
        for number, (label, (steps, values)) in enumerate(curves.items()):
            marker = "o" if len(steps) <= 25 else ""
            axes.plot(steps, values, color=SERIES[number % len(SERIES)], label=label, marker=marker, markersize=3.5)
        if best is not None:
            axes.axvline(best, color="#59636e", linestyle=":", linewidth=1.2, label="chosen checkpoint")
        axes.set_xlabel("step")
        if len(curves) > 1 or best is not None:
            add_legend(axes)

    return [draw(name, title, f"{title}. {say_curves(curves)}", paint)]


def say_curves(curves: Mapping[str, Curve]) -> str:
    """The first and the last value of each curve in words."""
    return " ".join(
        f"{label.capitalize()}: {values[0]:.4g} at step {steps[0]:,.0f}, {values[-1]:.4g} at step {steps[-1]:,.0f}, "
        f"lowest {min(values):.4g}, highest {max(values):.4g}."
        for label, (steps, values) in curves.items()
    )


def _table(history: Sequence[Mapping[str, Any]]) -> Table:
    names = dict.fromkeys(name for entry in history for name in entry)
    shown = [name for name in names if name not in ("step", "total_flos") and not name.endswith("per_second")]
    rows = [[entry["step"], *(entry.get(name) for name in shown)] for entry in history]
    return Table(
        "Everything that was logged", ["step", *shown], rows[-500:], folded=True, left_out=max(0, len(rows) - 500)
    )
