"""What a run says of its evaluations to the command that started it: lines, which `training/evaluation_lines.py` writes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

VARIABLE = "FINETUNE_EVALUATIONS"  # the file, set by who started this run
PREFIX = "eval_"


def read_evaluations(path: Path, metric: str) -> list[float]:
    """A metric after each evaluation, by step; what an interrupted start said and the next one said again counts once.

    Raises:
        KeyError: an evaluation has no such metric; the message lists those that it has.
    """
    found: dict[int, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the last line, half written
        found[entry["step"]] = _metric_of(entry, metric)
    return [found[step] for step in sorted(found)]


def _metric_of(entry: dict[str, Any], metric: str) -> float:
    value = entry.get(PREFIX + metric.removeprefix(PREFIX), entry.get(metric))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if value is None and PREFIX + metric.removeprefix(PREFIX) in entry:
        return math.nan
    raise KeyError(", ".join(name.removeprefix(PREFIX) for name in entry if name not in ("step", "epoch")))
