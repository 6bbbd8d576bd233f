"""What each evaluation of a training came to, a line each, for the command that started it and waits (a search)."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finetune.run.manifest import plain

VARIABLE = "FINETUNE_EVALUATIONS"  # the file, set by who started this run
PREFIX = "eval_"


class EvaluationLines(TrainerCallback):
    """Appends `{"step": 426, "eval_loss": 0.2311, ...}` after each evaluation, by the first process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        line = json.dumps({"step": state.global_step, **plain(kwargs["metrics"])})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def build_evaluation_lines() -> list[TrainerCallback]:
    """The callback, where somebody waits for the lines."""
    path = os.environ.get(VARIABLE)
    return [EvaluationLines(Path(path))] if path else []


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
