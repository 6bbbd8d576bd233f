"""The model that a command trains: loaded and adapted, or drawn anew, always from the seed and in float32."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from finetune.arguments.model import ModelArguments
from finetune.models.loading import HEADS, load_model

logger = logging.getLogger(__name__)


def build_model(
    arguments: ModelArguments,
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    task: str,
    seed: int,
    new_head: bool = False,
    complete: bool = False,
    more: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """Load and adapt the model of `arguments`; what its checkpoint lacks is drawn from `seed`.

    The other arguments are those of `models.loading.load_model`, which says what it raises.
    """
    set_seed(seed)
    return load_model(arguments, config, tokenizer, task=task, new_head=new_head, complete=complete, more=more)


def draw_model(config: PretrainedConfig, *, task: str, seed: int | None = None) -> PreTrainedModel:
    """A model without a checkpoint, every weight drawn: from `seed`, or as random numbers stand."""
    if seed is not None:
        set_seed(seed)
    model: PreTrainedModel = getattr(transformers, HEADS[task]).from_config(config, dtype=torch.float32)
    logger.info(f"A new {type(model).__name__} of {model.num_parameters():,} parameters.")
    return model
