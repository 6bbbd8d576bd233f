"""A search over hyperparameters as files: a table of its trials, and plots of its course."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from finetune.run.atomic_files import AtomicFile
from finetune.search.slots import HEARTBEAT
from finetune.search.turns import OWNER
from finetune.surprisal.table_files import TableFile

logger = logging.getLogger(__name__)

RESULTS = "optimization_results.csv.gz"
PLOTS = "optimization_plots.pdf"
LETTER_LANDSCAPE = (11.0, 8.5)
OBJECTIVE = "Objective Value"
BEST = "Best Value"
LEGENDS = {OBJECTIVE: "a trial", BEST: "best so far", "COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
AXES = {
    "Trial": "trial",
    "Datetime": "time of day",
    "Hyperparameter": "hyperparameter",
    "Hyperparameter Importance": "importance (share of the variance)",
    "Cumulative Probability": "share of trials",
}
COUNTED = ("trial", "epoch", "evaluation")  # axes of whole numbers
COVERING = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5}  # lines behind a name
FONTS = {  # file -> name: letters that matplotlib's own font lacks
    "NotoSansThai-Regular": "Noto Sans Thai",
    "Loma": "Loma",
    "NotoSansCJK-Regular": "Noto Sans CJK JP",
    "wqy-zenhei": "WenQuanYi Zen Hei",
}
SMALL, LABEL_WIDTH, LEGEND_LINES = 7, 18, 12
TICK_WIDTH, TICKS_WIDTH = 16, 60  # letters of a tick's name, and of all names side by side
PARAMETERS_IN_GRIDS = 4  # plots of every pair of more are unreadable


@dataclass(frozen=True)
class Measure:
    """What trials are judged by, in the words of plots: its name with its unit, several of it, what it is taken after."""

    name: str = "validation loss (nats)"
    several: str = "losses"
    step: str = "epoch"

    @property
    def labels(self) -> dict[str, str]:
        own = {OBJECTIVE: self.name, "Intermediate Value": self.name, "Step": self.step}
        return {**own, **AXES}


LOSSES = Measure()


def write_optimization_results(path: Path, trials: Sequence[FrozenTrial]) -> Path:
    """One row a trial: number, validation loss, state, times, epochs, a column per hyperparameter and attribute,
    and the output folder of the process that trained it.

    The loss of a complete trial is its lowest, that of a pruned one its last. Missing cells are `NA`.
    """
    rows = [_row(trial) for trial in trials]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    with TableFile(path) as table:
        table.write(pa.table(columns or {"number": pa.array([], pa.int64())}))
    return path


def _row(trial: FrozenTrial) -> dict[str, Any]:
    seconds = trial.duration.total_seconds() if trial.duration else None
    facts = {
        "number": trial.number,
        "value": trial.values[0] if trial.values else None,
        "state": trial.state.name,
        "datetime_start": trial.datetime_start and trial.datetime_start.isoformat(timespec="seconds"),
        "datetime_complete": trial.datetime_complete and trial.datetime_complete.isoformat(timespec="seconds"),
        "seconds": seconds,
        "epochs": len(trial.intermediate_values) or None,
    }
    facts |= {f"params_{name}": value for name, value in sorted(trial.params.items())}
    shown = {name: value for name, value in trial.user_attrs.items() if isinstance(value, str | int | float)}
    facts |= {f"attrs_{name}": shown[name] for name in sorted(shown) if name != HEARTBEAT}
    return facts | {"process_folder": trial.user_attrs.get(OWNER, {}).get("folder")}


def _column(values: list[Any]) -> pa.Array:
    """Numbers as numbers; a mixture as text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and len(kinds) == 2:
        return pa.array([None if value is None else float(value) for value in values])
    if len(kinds) > 1 or not kinds <= {int, float, bool, str}:
        return pa.array([None if value is None else str(value) for value in values])
    return pa.array(values, pa.string() if not kinds else None)


def write_optimization_plots(path: Path, study: Study, measure: Measure = LOSSES) -> list[str]:
    """Optuna's plots by matplotlib, one a page; returns what could not be drawn, each with the reason.

    Pages: history, losses by epoch, slices, importances, parallel coordinates, contours, distribution of losses, timeline.
    """
    with AtomicFile(path) as file:
        return _draw_pages(file.stream, study, measure)


def _draw_pages(stream: IO[bytes], study: Study, measure: Measure) -> list[str]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.backends.backend_pdf import PdfPages

    title = {"Title": study.study_name}
    with matplotlib.rc_context({"font.family": _find_fonts()}), PdfPages(stream, metadata=title) as pages:
        reasons = {name: _draw_page(pages, study, name, draw, measure) for name, draw in _plots(study, measure)}
    return [f"{name}: {reason}" for name, reason in reasons.items() if reason]


def _find_fonts() -> list[str]:
    """Matplotlib's own font, then those of this machine for other scripts; its list of them may be older than they are."""
    from matplotlib import font_manager

    there = {Path(path).stem: path for path in font_manager.findSystemFonts()}
    found = [name for name in FONTS if name in there]
    for name in found:
        font_manager.fontManager.addfont(there[name])
    return ["DejaVu Sans", *(FONTS[name] for name in found)]


def _plots(study: Study, measure: Measure) -> list[tuple[str, Callable[[Study], Any]]]:
    from optuna.visualization import matplotlib as plots

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    varied = _varied(complete)
    drawn: list[tuple[str, Callable[[Study], Any]]] = [
        (f"History of validation {measure.several}", plots.plot_optimization_history),
        (f"Validation {measure.several} by {measure.step}", plots.plot_intermediate_values),
    ]
    if varied and len(complete) > 1:
        drawn.append(
            (f"{_capital(measure.several)} by hyperparameter", lambda one: plots.plot_slice(one, params=varied))
        )
    if len(varied) > 1 and len(complete) > 1:  # of a single one these pages would show the same again
        drawn.append(("Importances of hyperparameters", lambda one: plots.plot_param_importances(one, params=varied)))
        drawn.append(("Trials in parallel coordinates", lambda one: plots.plot_parallel_coordinate(one, params=varied)))
        pairs = varied[:PARAMETERS_IN_GRIDS]
        drawn.append(
            (
                f"{_capital(measure.several)} by pairs of hyperparameters",
                lambda one: plots.plot_contour(one, params=pairs),
            )
        )
    return [*drawn, (f"Distribution of {measure.several}", plots.plot_edf), ("Timeline", plots.plot_timeline)]


def _varied(trials: Sequence[FrozenTrial]) -> list[str]:
    """Hyperparameters of which several values were tried."""
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    return [name for name in names if len({str(trial.params.get(name)) for trial in trials}) > 1]


def _capital(word: str) -> str:
    return word[0].upper() + word[1:]


def _draw_page(pages: Any, study: Study, name: str, draw: Callable[[Study], Any], measure: Measure) -> str | None:
    """Draw one page; the reason where Optuna cannot (too few trials, a package that is missing)."""
    from matplotlib import pyplot

    try:
        draw(study)
        figure = pyplot.gcf()
        figure.set_size_inches(*LETTER_LANDSCAPE)
        figure.suptitle(name)
        _tidy(figure, study, measure.labels)
        pages.savefig(figure, bbox_inches="tight")
    except (ValueError, RuntimeError, ImportError, ZeroDivisionError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    finally:
        pyplot.close("all")
    return None


def _tidy(figure: Any, study: Study, labels: Mapping[str, str]) -> None:
    """Names of ours, labels that do not lie over each other, no legend with a line for each of many trials."""
    panels = [axes for axes in figure.axes if axes.get_subplotspec() is not None]
    columns = max((axes.get_subplotspec().get_gridspec().ncols for axes in panels), default=1)
    is_parallel = any(OBJECTIVE in _texts(axes.get_xticklabels()) for axes in figure.axes)
    for axes in figure.axes:
        for place in ("center", "left", "right"):
            axes.set_title("", loc=place)
        _tidy_legend(axes)
        for get, put in ((axes.get_xlabel, axes.set_xlabel), (axes.get_ylabel, axes.set_ylabel)):
            put(_wrap(labels.get(get(), get())), fontsize=SMALL if len(panels) > 2 else None)
        if len(panels) > 2:
            axes.tick_params(labelsize=SMALL)
            _keep_outer_labels(axes)
        _name_ticks(axes, study, labels)
        _tidy_axes(axes, labels, columns)
        if is_parallel:
            _cover_lines(axes)


def _texts(labels: Any) -> list[str]:
    return [label.get_text() for label in labels]


def _tidy_legend(axes: Any) -> None:
    legend = axes.get_legend()
    if legend is None:
        return
    if len(legend.get_texts()) > LEGEND_LINES or _tells_nothing(legend):
        legend.remove()
    for text in legend.get_texts():
        said = text.get_text()
        text.set_text(LEGENDS.get(said, re.sub(r"^Trial(\d+)$", r"trial \1", said)))


def _tidy_axes(axes: Any, labels: Mapping[str, str], columns: int) -> None:
    """Trials and epochs at whole numbers, what holds until the next trial as steps, names of categories to be read."""
    from matplotlib.ticker import FixedFormatter, MaxNLocator

    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_label_text() in COUNTED and not isinstance(axis.get_major_formatter(), FixedFormatter):
            axis.set_major_locator(MaxNLocator(integer=True))
    if axes.get_xscale() == "log":
        axes.tick_params(axis="x", which="both", labelrotation=60, labelsize=SMALL)
    for line in axes.lines:
        if line.get_label() == BEST or axes.get_ylabel() == AXES["Cumulative Probability"]:
            line.set_drawstyle("steps-post")
    shown = _texts(axes.get_xticklabels())
    if sum(map(len, shown)) > TICKS_WIDTH // columns and _are_names(shown) and labels[OBJECTIVE] not in shown:
        turned = [shorten_name(text) for text in shown]
        axes.set_xticks(axes.get_xticks(), turned, rotation=35 if columns < 3 else 75, ha="right", fontsize=SMALL)
    beside = _texts(axes.get_yticklabels())
    if columns > 1 and _are_names(beside):
        axes.set_yticks(axes.get_yticks(), [shorten_name(text) for text in beside])


def _are_names(shown: Sequence[str]) -> bool:
    return any(len(text) > 6 and not _is_number(text) for text in shown)


def _cover_lines(axes: Any) -> None:
    """Of parallel coordinates: values that can be read over the lines, whole numbers where all values are."""
    from matplotlib.ticker import MaxNLocator

    beside, ends = _texts(axes.get_yticklabels()), axes.get_ylim()
    if _are_names(beside):
        axes.set_yticks(axes.get_yticks(), [shorten_name(text) for text in beside])
    elif axes.get_yscale() == "linear" and all(float(end).is_integer() for end in ends):
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(axis="y", labelsize=SMALL)
    for label in axes.get_yticklabels():
        label.set_bbox(COVERING)


def _tells_nothing(legend: Any) -> bool:
    return [text.get_text() for text in legend.get_texts()] == [OBJECTIVE]


def _is_number(text: str) -> bool:
    """Also the powers of ten of logarithmic axes, which matplotlib writes as formulas, and times of day."""
    return text.startswith("$") or re.fullmatch(r"[-+\u2212]?[0-9.,e+\u2212:-]+", text) is not None


def shorten_name(text: str) -> str:
    """A name of a category that fits beside its place: the end tells most of a path or class, the beginning of others."""
    text = text.strip("'")  # Optuna's slices quote words
    if len(text) <= TICK_WIDTH:
        return text
    if re.search(r"[/.]\S*$", text):
        return "\u2026" + text[1 - TICK_WIDTH :]
    return text[: TICK_WIDTH - 1] + "\u2026"


def _keep_outer_labels(axes: Any) -> None:
    """In a grid of pairs: names below the last row and beside the first column."""
    place = axes.get_subplotspec()
    if place is None or place.get_gridspec().nrows < 2:
        return
    if not place.is_last_row():
        axes.set_xlabel("")
    if not place.is_first_col():
        axes.set_ylabel("")


def _name_ticks(axes: Any, study: Study, words: Mapping[str, str]) -> None:
    """Optuna cuts the names of parallel coordinates so short that they are alike."""
    shown = [label.get_text() for label in axes.get_xticklabels()]
    if not shown or shown[0] != OBJECTIVE:
        return
    names = sorted({name for trial in study.get_trials(deepcopy=False) for name in trial.params})
    whole = [[name for name in names if name.startswith(text.removesuffix("..."))] for text in shown[1:]]
    full = [found.pop(0) if len(found) == 1 else None for found in whole]
    left = [name for name in names if name not in full]
    labels = [name or (left.pop(0) if left else text) for name, text in zip(full, shown[1:], strict=True)]
    axes.set_xticks(axes.get_xticks(), [words[OBJECTIVE], *map(_wrap, labels)], fontsize=SMALL, rotation=0, ha="center")


def _wrap(name: str) -> str:
    """Long names of hyperparameters on several lines, cut at their underscores and dots."""
    lines = [""]
    for part in re.findall(r"[^_.]+[_.]?|[_.]", name) if " " not in name else [name]:
        if lines[-1] and len(lines[-1]) + len(part) > LABEL_WIDTH:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
