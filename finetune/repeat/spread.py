"""Scores of repeated runs: mean, deviation and interval of every metric, of every class too."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import t as student

from finetune.page.classified import read_classified, score_rows
from finetune.page.folder import RunFolder
from finetune.page.tagged import read_classes
from finetune.report.class_scores import ClassScore

COUNTS = ("nb_samples",)
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """Values of one metric over runs; `low` and `high` are the 95 % interval of the mean by Student's t, None for one."""

    values: list[float]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def half(self) -> float | None:
        """Half of the width of the interval."""
        number, deviation = len(self.values), self.deviation
        if deviation is None:
            return None
        return float(student.ppf((1 + CONFIDENCE) / 2, number - 1)) * deviation / math.sqrt(number)

    def as_dict(self) -> dict[str, Any]:
        half = self.half
        borders = {"low": None, "high": None} if half is None else {"low": self.mean - half, "high": self.mean + half}
        return {"mean": self.mean, "deviation": self.deviation, **borders, "values": self.values}


@dataclass(frozen=True)
class Finished:
    """A run that is done: its seed, its fold (None without folds) and its folder."""

    name: str
    seed: int
    fold: int | None
    folder: RunFolder


Table = dict[str, dict[str, Spread]]  # split -> metric (or class and metric) -> spread


def spread_scores(runs: Sequence[Finished]) -> Table:
    """Every number of metrics.json that all runs have, by split."""
    return _spread(runs, [{split: _numbers(values) for split, values in run.folder.metrics.items()} for run in runs])


def spread_classes(runs: Sequence[Finished]) -> Table:
    """F1 of every class, by split; classes that a run lacks are left out of it."""
    found = [
        {split: {row.label: row.f1 for row in classes} for split, classes in _classes(run).items()} for run in runs
    ]
    return _spread(runs, found)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    plain = {name: value for name, value in values.items() if isinstance(value, int | float) and name not in COUNTS}
    return {name: float(value) for name, value in plain.items() if not isinstance(value, bool)}


def _classes(run: Finished) -> dict[str, list[ClassScore]]:
    tagged = {split: read_classes(metrics) for split, metrics in run.folder.metrics.items() if "confusions" in metrics}
    if tagged:
        return tagged
    files = {split: path for split, path in run.folder.predictions("jsonl").items() if split in run.folder.metrics}
    return {split: found for split, path in files.items() if (found := _score_file(path))}


def _score_file(path: Path) -> list[ClassScore]:
    rows = read_classified(path)
    return score_rows(rows, list(rows[0]["probabilities"])) if rows and "probabilities" in rows[0] else []


def _spread(runs: Sequence[Finished], found: Sequence[Mapping[str, Mapping[str, float]]]) -> Table:
    """One value a seed (the mean over its folds); one a fold where there is a single seed."""
    by_seed = len({run.seed for run in runs}) > 1
    table: dict[str, dict[str, dict[int, list[float]]]] = {}
    for run, splits in zip(runs, found, strict=True):
        for split, values in splits.items():
            for name, value in values.items():
                unit = run.seed if by_seed else run.fold or 0
                table.setdefault(split, {}).setdefault(name, {}).setdefault(unit, []).append(value)
    return {
        split: {name: Spread([statistics.fmean(values) for values in units.values()]) for name, units in names.items()}
        for split, names in table.items()
    }
