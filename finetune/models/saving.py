"""A model on disk without a Trainer: students, models of experiments, models in mid-training."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.models.adapters import find_adapter, plain_model, save_adapter
from finetune.models.settings import SavedSettings
from finetune.models.whole_weights import record_weights


def save_pretrained(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    folder: Path,
    settings: SavedSettings | None = None,
) -> Path:
    """Weights (an adapter's, where there is one) with their checksums, configuration, tokenizer and settings in one folder.

    Returns the folder.
    """
    if find_adapter(model) is None:
        model.save_pretrained(folder)
    else:
        save_adapter(model, folder)
    record_weights(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    if settings is not None:
        settings.save(folder)
    return folder


def save_plain(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Path:
    """The same for a model that is handed on: an adapter is merged in what is written."""
    return save_pretrained(plain_model(model), tokenizer, folder)
