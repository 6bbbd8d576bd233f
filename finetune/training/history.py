"""The course of a training as files: what the Trainer logged at each step, for whoever draws curves of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finetune.data.json_values import parse_json
from finetune.run.course import HISTORY, LOSS_PART, PROGRESS
from finetune.run.folder import Run
from finetune.run.manifest import write_json_atomically

logger = logging.getLogger(__name__)

PACE = ("tokens_per_second", "mfu")


def write_history(run: Run, trainer: Trainer) -> Path | None:
    """Write `training_history.json`: losses, metrics and learning rates by step, earlier attempts of the run included."""
    if run.folder is None or not run.writes:
        return None
    state = trainer.state
    # A run that went on has read entries from a checkpoint, which sorts their names; curves and tables follow the order.
    log = [dict(sorted(entry.items())) for entry in state.log_history]
    facts = {"steps": state.global_step, "epochs": state.epoch, "log": log}
    write_json_atomically(run.folder / HISTORY, facts)
    return run.folder / HISTORY


class Progress(TrainerCallback):
    """Keeps in `training_progress.json` what lines of the log say beside the history: the pace, and the parts of a loss.

    The history is the same whenever the same command runs; a pace never is, so it has a file of its own. Add it behind the
    callbacks that put these numbers on the line.
    """

    def __init__(self, run: Run) -> None:
        self.path = run.folder / PROGRESS if run.folder is not None and run.writes else None
        self.entries: list[dict[str, Any]] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if self.path is not None:
            self.entries = [entry for entry in read_progress(self.path) if entry["step"] <= state.global_step]

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs: Mapping[str, Any] = kwargs["logs"]
        kept = {name: value for name, value in logs.items() if name in PACE or name.startswith(LOSS_PART)}
        if kept:
            self.entries.append({"step": state.global_step, **kept})

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self.path is not None and self.entries:
            write_json_atomically(self.path, {"log": self.entries})

    on_train_end = on_save


def read_progress(path: Path) -> list[dict[str, Any]]:
    """The entries of an earlier attempt; none where there was none, or where they cannot be read, which is said."""
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
        return [entry for entry in found["log"] if isinstance(entry["step"], int)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        logger.warning("%s cannot be read (%s): the pace before this attempt is lost.", path, error)
        return []
