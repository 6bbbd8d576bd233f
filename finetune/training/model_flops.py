"""Floating-point operations that training a model on a batch needs, whatever the code that does it computes beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from finetune.encoding.padding import IGNORED


@dataclass(frozen=True)
class ModelFlops:
    """6 N for each token and 12 L H T for the attention of each token to the T of its text.

    Chowdhery et al., 2022 (PaLM, https://arxiv.org/abs/2204.02311), appendix B: N parameters, L layers, H the width of
    queries of all heads together; 2 of 6 forward, 4 backward. N leaves out embeddings, which are looked up; a projection to
    the vocabulary counts where a token has a label. Frozen parameters count 2, the forward pass, the least they need.
    """

    every_token: float  # operations for each token
    labelled: float  # for each token with a label
    attention: float  # for each pair of tokens of a text

    @staticmethod
    def of(model: nn.Module) -> ModelFlops | None:
        """None where a model's layers and widths are not told by its configuration."""
        if not isinstance(model, PreTrainedModel):
            return None
        config: Any = model.config
        layers, width = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
        if not layers or not width:
            return None
        vocabulary = model.get_output_embeddings()
        projected = [] if vocabulary is None else list(vocabulary.parameters())
        left_out = {id(parameter) for parameter in [*projected, *_looked_up(model)]}
        body = [parameter for parameter in model.parameters() if id(parameter) not in left_out]
        return ModelFlops(sum(map(_operations, body)), sum(map(_operations, projected)), 12.0 * layers * width)

    def count(self, inputs: Mapping[str, Any]) -> Tensor | float:
        """Of one batch, padding left out; a tensor on its device."""
        ids, mask, labels = inputs.get("input_ids"), inputs.get("attention_mask"), inputs.get("labels")
        if isinstance(mask, Tensor):
            lengths = mask.sum(-1).double()
        elif isinstance(ids, Tensor):
            lengths = ids.new_full(ids.shape[:-1], ids.shape[-1]).double()
        else:
            return 0.0
        total = self.every_token * lengths.sum() + self.attention * lengths.square().sum()
        if self.labelled and isinstance(labels, Tensor):
            total = total + self.labelled * (labels != IGNORED).sum()
        return total


def _operations(parameter: Tensor) -> float:
    return (6.0 if parameter.requires_grad else 2.0) * parameter.numel()


def _looked_up(model: nn.Module) -> list[Tensor]:
    tables = (module for module in model.modules() if isinstance(module, nn.Embedding))
    return [parameter for table in tables for parameter in table.parameters(recurse=False)]
