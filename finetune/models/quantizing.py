"""Frozen linear layers in 4 bits (NF4), beside which an adapter is trained: QLoRA, Dettmers et al. 2023, arXiv:2305.14314.

The weights that an adapter is saved beside stay those of its base: nothing quantised is ever written.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import nn
from transformers import PreTrainedModel

from finetune.errors import Problem, UsageError
from finetune.models.parts import base_prefix

INSTALL = "pip install 'finetune[quantized]'"


def check_quantizing() -> None:
    """Whether layers can be kept in 4 bits here.

    Raises:
        UsageError: there is no NVIDIA GPU, or no bitsandbytes.
    """
    if not torch.cuda.is_available():
        found = "--load_in_4bit needs an NVIDIA GPU, and there is none"
        raise UsageError(Problem(found, remedy="drop it: an adapter trains beside a base in full precision anywhere"))
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UsageError(Problem("--load_in_4bit needs bitsandbytes, which is not installed", remedy=INSTALL))


def quantize_encoder(model: PreTrainedModel, compute: torch.dtype = torch.bfloat16) -> int:
    """Put 4-bit layers in the places of the encoder's linear ones, in place; how many there are.

    Weights are rounded when the model is moved to its device. Heads, embeddings and norms stay as they are.
    """
    import bitsandbytes

    prefix = base_prefix(model)
    places = [
        (name, module)
        for name, module in model.named_modules()
        if type(module) is nn.Linear and name.startswith(prefix) and "pooler" not in name
    ]
    for name, module in places:
        layer = bitsandbytes.nn.Linear4bit(
            module.in_features,
            module.out_features,
            bias=module.bias is not None,
            compute_dtype=compute,
            quant_type="nf4",
        )
        layer.weight = bitsandbytes.nn.Params4bit(module.weight.data, requires_grad=False, quant_type="nf4")
        layer.bias = module.bias
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, layer)
    return len(places)
