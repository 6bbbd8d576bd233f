"""What speeds up prediction, switched on; apart from `fast_path.py`, so that nothing of a Trainer is imported to predict.

transformers' Trainer brings peft along, which alone takes 0.7 s.
"""

from __future__ import annotations

import logging

import torch
from transformers import PreTrainedModel

from finetune.arguments.prediction import PredictArguments
from finetune.arguments.training_table import TrainingValues
from finetune.models.native.serving import use_native_encoder
from finetune.models.unpadding.hooks import unpad_encoder
from finetune.training.allocator import keep_freed_memory
from finetune.training.precision import LONG_NAMES, choose_precision

logger = logging.getLogger(__name__)


def prepare_prediction(model: PreTrainedModel, options: PredictArguments) -> bool:
    """Switch on what speeds up prediction, in place; returns whether to compute in bfloat16 (`models/inference.py`)."""
    on_cpu = model.device.type == "cpu"
    if on_cpu:
        keep_freed_memory()
    asked: TrainingValues = {"use_cpu": on_cpu}
    if options.bf16 is not None:
        asked["bf16"] = options.bf16
    choice = choose_precision(asked, [model.config])
    bf16 = choice.dtype == "bf16"
    if options.bf16 and not bf16:
        logger.warning("Predicting in float32 because %s.", choice.reason)
    reason = "it was switched off" if options.no_unpad else unpad_encoder(model)
    if reason is not None:
        logger.info("Padding is computed, too: %s.", reason)
    if reason is not None or not on_cpu or options.no_native:
        return bf16
    native = use_native_encoder(model, torch.bfloat16 if bf16 else torch.float32)
    number = LONG_NAMES["bf16" if bf16 else "fp32"]
    logger.info("Encoder: %s.", describe(f"native step in {number}", native, False))
    return bf16


def describe(what: str, reason: str | None, switched_off: bool) -> str:
    """One part of the line: in use (None), not concerned (empty), switched off, or why not."""
    if switched_off or reason == "":
        return ""
    return what if reason is None else f"no {what} ({reason})"
