"""A trained model on disk: by the Trainer, which knows of several processes, with what its task has to know of it."""

from __future__ import annotations

from pathlib import Path

from transformers import Trainer

from finetune.models.settings import SavedSettings


def save_trained(trainer: Trainer, settings: SavedSettings | None = None) -> Path:
    """Model, tokenizer, and settings where the task has any, in the output folder of the Trainer, which is returned."""
    folder = Path(str(trainer.args.output_dir))
    trainer.save_model(str(folder))
    if settings is not None and trainer.is_world_process_zero():
        settings.save(folder)
    return folder
