"""The page of a distillation: the student beside its teacher, and the course of each loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from finetune.page.curves import Curve, find_curve, say_curves
from finetune.page.folder import RunFolder, judged_split
from finetune.page.parts import Cell, Figure, Section, Sentences, Table
from finetune.page.plots import SERIES, add_legend, draw, shorten
from finetune.page.scores import is_number
from finetune.run.course import LOSS_PART

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSSES = {
    "ce": "soft targets",
    "mse": "logits",
    "cos": "direction of last states",
    "hidden": "hidden states",
    "relation": "relations",
    "hard": "labels",
    "mlm": "masked subwords",
    "clm": "next subwords",
}
DRAWN = 12
Scores = Mapping[str, Mapping[str, Any]]


def make_distilled(folder: RunFolder) -> list[Section]:
    """The section that only distillations have."""
    section = Section("distillation", "Student beside teacher")
    teacher = folder.teacher
    if teacher:
        section.blocks.extend(_compare(folder.metrics, teacher))
    section.blocks.extend(_draw_parts(folder))
    return [section]


def _compare(metrics: Scores, teacher: Mapping[str, Any]) -> list[Sentences | Figure | Table]:
    scores = {split: values for split, values in (teacher.get("scores") or {}).items() if split in metrics}
    rows: list[list[Cell]] = [
        [split, name, values[name], metrics[split][name], metrics[split][name] - values[name]]
        for split, values in scores.items()
        for name in values
        if is_number(values[name]) and is_number(metrics[split].get(name)) and name != "nb_samples"
    ]
    blocks: list[Sentences | Figure | Table] = [Sentences(_say(teacher, scores, metrics), "verdict")]
    if (split := judged_split(scores)) is not None:
        blocks += _draw_scores(split, [row for row in rows if row[0] == split and row[1] != "loss"])
    if rows:
        blocks.append(Table("Scores", ["split", "score", "teacher", "student", "difference"], rows))
    return blocks


def _say(teacher: Mapping[str, Any], scores: Scores, metrics: Scores) -> list[str]:
    sizes = teacher.get("parameters") or {}
    said = [f"The teacher is {teacher.get('teacher')}."]
    if sizes.get("student") and sizes.get("teacher"):
        share = sizes["student"] / sizes["teacher"]
        said.append(
            f"The student has {sizes['student']:,} parameters, {share:.0%} of its teacher's {sizes['teacher']:,}."
        )
    split = judged_split(scores)
    name = next((n for n in ("f1_micro", "accuracy", "pearson") if split and n in scores[split]), None)
    if split and name and is_number(metrics[split].get(name)):
        theirs, own = scores[split][name], metrics[split][name]
        kept = (
            f", {own / theirs:.1%} of its teacher's {theirs:.4f}" if theirs > 0 else f"; its teacher's is {theirs:.4f}"
        )
        said.append(f"On {split} the student's {name} is {own:.4f}{kept}.")
    elif not scores:
        said.append("No split was scored, so what they say is not compared.")
    return said


def _draw_scores(split: str, rows: list[list[Cell]]) -> list[Figure]:
    """Both models' scores between 0 and 1 as pairs of points."""
    found = [row for row in rows if all(isinstance(v, int | float) and 0 <= v <= 1 for v in row[2:4])][:DRAWN]
    if not found:
        return []
    labels = [str(row[1]) for row in found]

    def paint(axes: Axes) -> None:
        for number, (label, column) in enumerate((("teacher", 2), ("student", 3))):
            values: list[Any] = [row[column] for row in found]
            axes.barh([place + 0.4 * number for place in range(len(found))], values, height=0.38, align="edge",
                      color=SERIES[1 - number], label=label)  # fmt: skip
        axes.set_yticks([place + 0.4 for place in range(len(found))], [shorten(label) for label in labels])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 1)
        add_legend(axes)

    said = "; ".join(f"{row[1]} {row[2]:.4f} and {row[3]:.4f}" for row in found)
    title = f"Scores of teacher and student ({split})"
    return [draw("student_teacher", title, f"{title}: {said}", paint, height=1.0 + 0.36 * len(found))]


def _draw_parts(folder: RunFolder) -> list[Figure]:
    """Each loss by step, before its weight."""
    curves: dict[str, Curve] = {
        words: curve for name, words in LOSSES.items() if (curve := find_curve(folder.progress, LOSS_PART + name))[0]
    }
    if not curves:
        return []

    def paint(axes: Axes) -> None:
        for number, (label, (steps, values)) in enumerate(curves.items()):
            style = "-" if number < len(SERIES) else "--"
            axes.plot(steps, values, style, color=SERIES[number % len(SERIES)], label=label, markersize=3.5)
        axes.set_xlabel("step")
        add_legend(axes)

    title = "Each loss by step, before its weight"
    return [draw("distillation_losses", title, f"{title}. {say_curves(curves)}", paint)]
