"""The model that predicts, for taggers and classifiers alike: torch's, made fast, or one that was exported."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from finetune.arguments.model import ModelArguments
from finetune.arguments.prediction import PredictArguments
from finetune.arguments.training_table import TrainingValues
from finetune.errors import Problem, UsageError
from finetune.models.exported import find_format, load_exported
from finetune.models.loading import load_model
from finetune.training.fast_path import prepare_prediction
from finetune.training.precision import choose_precision

logger = logging.getLogger(__name__)


def load_to_predict(
    model_arguments: ModelArguments,
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    options: PredictArguments,
    *,
    task: str,
    device: torch.device,
) -> tuple[Any, bool]:
    """The model, and whether batches are computed in bfloat16 by torch.

    Raises:
        UsageError: an exported model is asked for on another device than the CPU; what runs it is not installed.
        DataError: as `load_model` and `load_exported`.
    """
    folder = Path(model_arguments.model_name_or_path)
    kind = find_format(folder)
    if kind is None:
        model = load_model(model_arguments, config, tokenizer, task=task, new_head=False).to(device)  # type: ignore[arg-type]
        return model, prepare_prediction(model, options)
    if device.type != "cpu":
        found = f"--device {device} is for models of torch; an exported one runs on the CPU here"
        raise UsageError(Problem(found, remedy="add --device cpu", path=folder))
    asked: TrainingValues = {"use_cpu": True}
    if options.bf16 is not None:
        asked["bf16"] = options.bf16
    bf16 = kind == "openvino" and choose_precision(asked, [config]).dtype == "bf16"
    logger.info("Exported model: %s in %s.", kind, "bfloat16" if bf16 else "the precision of its program")
    return load_exported(folder, config, bf16=bf16), False
