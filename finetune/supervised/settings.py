"""A trained model again: its rows become input as in training, wherever no flag says otherwise."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.models.settings import SavedSettings

logger = logging.getLogger(__name__)

Settings = TypeVar("Settings", bound=SavedSettings)


def load_saved(arguments: Arguments, kind: type[Settings]) -> Settings | None:
    """What the model was saved with; None where this run trains, or where another program saved the model.

    Raises:
        DataError: the file of the settings cannot be read.
    """
    if arguments.training.get("do_train"):
        return None
    return kind.load(Path(arguments[ModelArguments].model_name_or_path))


def apply_saved(arguments: Arguments, group: type, trained_with: Mapping[str, Any]) -> None:
    """Set the options of `group` as a model was trained with them, wherever no flag says otherwise, and say so."""
    options: Any = arguments[group]
    changed = {
        name: value
        for name, value in trained_with.items()
        if name not in arguments.typed and value != getattr(options, name)
    }
    for name, value in changed.items():
        setattr(options, name, value)
    if changed:
        shown = ", ".join(f"--{name} {value}" for name, value in changed.items())
        logger.info("As the model was trained: %s.", shown)
