"""The table of a sweep: a row a run, its values, how it ended, and its metrics on validation data, never on tests."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.report.files import write_text

TABLE = "sweep_results.csv"
SEEDS_TABLE = "sweep_results_over_seeds.csv"
SEED = "seed"
OF_TESTS = ("test", "predict", "blimp")  # metrics that must not choose among runs
LOWER_IS_BETTER = ("loss", "perplexity", "error", "entropy", "bits", "brier", "calibration")
NOT_AVAILABLE = "NA"


@dataclass(frozen=True)
class SweepRow:
    """One run of a sweep."""

    name: str
    values: dict[str, str]
    status: str
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)


def validation_metrics(result: Mapping[str, Any], above: str = "") -> dict[str, float]:
    """The numbers of a run's last line by dotted name, but for those of tests, and its seed."""
    metrics: dict[str, float] = {}
    for name, value in result.items():
        if name == SEED or any(
            word in part for part in name.casefold().replace(".", "_").split("_") for word in OF_TESTS
        ):
            continue
        if isinstance(value, Mapping):
            metrics |= validation_metrics(value, f"{above}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            metrics[above + name] = value
    return metrics


def lower_is_better(metric: str) -> bool:
    """Whether a metric is one of those that should be small."""
    return any(word in metric.casefold() for word in LOWER_IS_BETTER)


def sort_rows(rows: Sequence[SweepRow], metric: str) -> list[SweepRow]:
    """The best first; runs without the metric last, in their order."""
    known = [row for row in rows if metric in row.metrics]
    known.sort(key=lambda row: row.metrics[metric], reverse=not lower_is_better(metric))
    return known + [row for row in rows if metric not in row.metrics]


def list_metrics(rows: Sequence[SweepRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.metrics))


def write_sweep_table(folder: Path, rows: Sequence[SweepRow]) -> str:
    """Write `sweep_results.csv`, and one with mean and deviation over seeds where there are several; returns the table."""
    metrics, axes = list_metrics(rows), list(dict.fromkeys(name for row in rows for name in row.values))
    lines = [["run", *axes, "status", *metrics, "reason"]]
    for row in rows:
        cells = [_shown(row.metrics.get(name)) for name in metrics]
        lines.append([row.name, *(row.values.get(axis, "") for axis in axes), row.status, *cells, row.reason])
    text = _as_csv(lines)
    write_text(folder / TABLE, text)
    if SEED in axes and len({row.values.get(SEED) for row in rows}) > 1:
        write_text(folder / SEEDS_TABLE, _as_csv(_over_seeds(rows, [axis for axis in axes if axis != SEED], metrics)))
    return text


def _over_seeds(rows: Sequence[SweepRow], axes: Sequence[str], metrics: Sequence[str]) -> list[list[str]]:
    groups: dict[tuple[str, ...], list[SweepRow]] = {}
    for row in rows:
        if row.metrics:
            groups.setdefault(tuple(row.values.get(axis, "") for axis in axes), []).append(row)
    lines = [[*axes, "runs", *(f"{name} {kind}" for name in metrics for kind in ("mean", "deviation"))]]
    for values, members in groups.items():
        cells = []
        for name in metrics:
            found = [row.metrics[name] for row in members if name in row.metrics]
            cells.append(_shown(statistics.fmean(found)) if found else NOT_AVAILABLE)
            cells.append(_shown(statistics.stdev(found)) if len(found) > 1 else NOT_AVAILABLE)
        lines.append([*values, str(len(members)), *cells])
    return lines


def _shown(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else str(value) if isinstance(value, int) else f"{value:.6g}"


def _as_csv(lines: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()
