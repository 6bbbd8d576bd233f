"""What each evaluation of a training came to, a line each, for the command that started it and waits (a search)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finetune.run.evaluations import VARIABLE
from finetune.run.manifest import plain


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
