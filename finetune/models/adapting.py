"""What is changed in a model once its weights are read, whatever the task: a list of small steps, each in place.

Whatever changes a model for every command that trains is a step here and nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass
class Adaptation:
    """What the steps have to know. `report` is what loading said; `fresh` are the names of weights that a step drew anew."""

    tokenizer: PreTrainedTokenizerBase
    report: Mapping[str, Any]
    new_head: bool = False
    fresh: list[str] = field(default_factory=list)


def adapt_model(model: PreTrainedModel, adaptation: Adaptation) -> None:
    """Go through all steps, in their order."""
    for step in STEPS:
        step(model, adaptation)


def renew_head(model: PreTrainedModel, adaptation: Adaptation) -> None:
    """Draw the output layer anew where the checkpoint had one of the same size, for other labels."""
    if not adaptation.new_head:
        return
    report = adaptation.report
    drawn_already = {*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])}
    outputs = {
        name: parameter
        for name, parameter in model.named_parameters()
        if is_of_head(model, name) and parameter.shape[0] == model.config.num_labels and name not in drawn_already
    }
    for name, parameter in outputs.items():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
        else:
            torch.nn.init.normal_(parameter, std=getattr(model.config, "initializer_range", 0.02))
    adaptation.fresh += list(outputs)


def is_of_head(model: PreTrainedModel, name: str) -> bool:
    """Whether a weight stands on top of the encoder that all heads share."""
    return not name.startswith(f"{model.base_model_prefix}.")


def grow_vocabulary(model: PreTrainedModel, adaptation: Adaptation) -> None:
    """Grow the embedding by the tokens that were added to the tokenizer; never shrink it."""
    size = int(cast(torch.Tensor, model.get_input_embeddings().weight).shape[0])  # I-BERT's is no nn.Embedding
    if len(adaptation.tokenizer) > size:
        model.resize_token_embeddings(len(adaptation.tokenizer))
        logger.info("Embedding grown from %d to %d rows for the added tokens.", size, len(adaptation.tokenizer))


STEPS = (renew_head, grow_vocabulary)
