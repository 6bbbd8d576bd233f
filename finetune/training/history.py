"""The course of a training as a file: what the Trainer logged at each step, for whoever draws curves of it."""

from __future__ import annotations

from pathlib import Path

from transformers import Trainer

from finetune.run.folder import Run
from finetune.run.manifest import write_json_atomically

HISTORY = "training_history.json"


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
