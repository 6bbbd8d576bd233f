"""A trained model on disk: by the Trainer, which knows of several processes, with what its task has to know of it."""

from __future__ import annotations

from pathlib import Path

from transformers import Trainer

from finetune.models.settings import SavedSettings
from finetune.models.whole_weights import record_weights


def save_trained(trainer: Trainer, settings: SavedSettings | None = None) -> Path:
    """Model with checksums, tokenizer, and settings where there are any, in the output folder of the Trainer."""
    folder = Path(str(trainer.args.output_dir))
    trainer.save_model(str(folder))
    if trainer.is_world_process_zero():
        record_weights(folder)
        if settings is not None:
            settings.save(folder)
    return folder
