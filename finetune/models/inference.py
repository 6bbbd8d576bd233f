"""A model over many batches without gradients: weights made ready once, and heads whose results do not hang on the batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune.models.families import has_sparse_head
from finetune.models.native.serving import fixed_products, is_native, native_layers

HEAD_ROWS = 128  # at once: libraries choose how to sum by the number of rows, so heads are given always as many


@contextmanager
def inference(model: nn.Module, *, bf16: bool) -> Iterator[None]:
    """Evaluation mode, without gradients. Inside, `bf16` means products in bfloat16 of weights that are rounded once.

    Where an encoder runs as a native step there is no autocast: the step rounds what enters its products, embeddings,
    norms and heads stay in float32, and no number hangs on which rows share a batch. Elsewhere, and for the projections of
    masked language models to the vocabulary, one autocast spans all batches, which keeps the weights that it has rounded.
    """
    model.eval()
    device = next(model.parameters()).device.type
    native = is_native(model)
    autocast = bf16 and not (native and not any(map(has_sparse_head, model.modules())))
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(_plain_forward(model))
        if native:
            stack.enter_context(fixed_products(model, torch.bfloat16 if bf16 else torch.float32))
        if native and not autocast:
            stack.enter_context(steady_heads(model))
        if autocast:
            stack.enter_context(_kept_casts(model))
            stack.enter_context(torch.autocast(device, torch.bfloat16))
        yield


@contextmanager
def _plain_forward(model: nn.Module) -> Iterator[None]:
    """Without the autocast that accelerate puts around the forward function of a model in training."""
    wrapped = model.__dict__.pop("forward", None) if "_original_forward" in model.__dict__ else None
    try:
        yield
    finally:
        if wrapped is not None:
            model.__dict__["forward"] = wrapped


@contextmanager
def _kept_casts(model: nn.Module) -> Iterator[None]:
    """Autocast keeps what it has cast of weights that could have a gradient, so for a while frozen ones could."""
    frozen = [weight for weight in model.parameters() if not weight.requires_grad and weight.is_floating_point()]
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)


@contextmanager
def steady_heads(model: nn.Module) -> Iterator[None]:
    """Let linear layers outside of the native step compute blocks of `HEAD_ROWS` rows, filled up with zeros."""
    inside = {id(module) for layers in native_layers(model) for module in layers.modules()}
    linears = [module for module in model.modules() if type(module) is nn.Linear and id(module) not in inside]
    linears = [module for module in linears if "forward" not in module.__dict__]
    try:
        for module in linears:
            module.__dict__["forward"] = partial(_forward_in_blocks, module)
        yield
    finally:
        for module in linears:
            module.__dict__.pop("forward", None)


def _forward_in_blocks(module: nn.Linear, states: Tensor) -> Tensor:
    """(..., inputs) -> (..., outputs)."""
    rows = states.reshape(-1, states.shape[-1])
    filled = functional.pad(rows, (0, 0, 0, -len(rows) % HEAD_ROWS))
    blocks = [functional.linear(block, module.weight, module.bias) for block in filled.split(HEAD_ROWS)]
    return torch.cat(blocks)[: len(rows)].view(*states.shape[:-1], -1)
