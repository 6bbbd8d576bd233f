"""A model on disk without a Trainer: students, models of experiments, models in mid-training."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.models.settings import SavedSettings
from finetune.models.whole_weights import record_weights


def save_pretrained(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    folder: Path,
    settings: SavedSettings | None = None,
) -> Path:
    """Weights with their checksums, configuration, tokenizer and settings in one folder, which is returned."""
    model.save_pretrained(folder)
    record_weights(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    if settings is not None:
        settings.save(folder)
    return folder
