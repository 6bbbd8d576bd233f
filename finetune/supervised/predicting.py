"""The torch model that predicts, made fast, for taggers and classifiers alike."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from finetune.arguments.model import ModelArguments
from finetune.arguments.prediction import PredictArguments
from finetune.models.loading import load_model
from finetune.training.fast_prediction import prepare_prediction


def load_to_predict(
    model_arguments: ModelArguments,
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    options: PredictArguments,
    *,
    task: str,
    device: torch.device,
) -> tuple[Any, bool]:
    """The model, and whether batches are computed in bfloat16.

    Raises:
        DataError: as `load_model`.
    """
    model = load_model(model_arguments, config, tokenizer, task=task, new_head=False).to(device)  # type: ignore[arg-type]
    return model, prepare_prediction(model, options)
