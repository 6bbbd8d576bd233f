"""The native step put in the place of an encoder's layers: where it serves a call, and what runs where it does not."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from finetune.models.native.building import NoLibraryError, load_library
from finetune.models.native.layers import FAMILIES, Layers, Stack, find_stack
from finetune.models.native.step import Batch, PackedWeights, Step, run_layers, weights_among
from finetune.models.native.updates import Packing
from finetune.models.unpadding.layout import TokenLayout

logger = logging.getLogger(__name__)

NO_BFLOAT16 = "this CPU does not multiply bfloat16 natively"


def use_native_encoder(model: nn.Module, dtype: torch.dtype | None = None) -> str | None:
    """Let the layers of every encoder in `model` run as one native step on packed tokens, in place.

    The encoder has to be unpadded (`unpad_encoder`); calls without a layout run as before. Modules, parameters and the
    state dict stay what they are. `dtype` is that of the numbers in its products, float32 or bfloat16; without it that of
    autocast, and float32 outside. Returns None when the step is in use, else the reason why nothing was changed.
    """
    bases = list(_base_models(model))
    if not bases:
        return f"{type(model).__name__} has no native kernels"
    stacks = [find_stack(base) for base in bases]
    reason = next((stack for stack in stacks if isinstance(stack, str)), None)
    if reason is not None:
        return reason
    reason = why_no_kernels()
    if reason is not None:
        return reason
    if dtype is torch.bfloat16 and not load_library().encoder_has_bfloat16():
        return NO_BFLOAT16
    for stack in stacks:
        assert isinstance(stack, Stack)
        stack.module.__dict__["forward"] = partial(_forward, _Served(stack, dtype))
    return None


def why_no_kernels() -> str | None:
    """Why the kernels' library is not used on this machine; None where it is. Compiles it the first time."""
    try:
        _require_measured_cpu()
        load_library()
    except NoLibraryError as error:
        return str(error)
    return None


def _require_measured_cpu() -> None:
    """The portable kernels compile everywhere, but torch's own path may be the faster one where nobody measured."""
    if os.environ.get("FINETUNE_NATIVE") == "1":
        return
    there = torch.cpu.get_capabilities().get("avx512_f")
    if not there or not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        found = "ATEN_CPU_CAPABILITY leaves AVX512 out" if there else "this CPU has no AVX512"
        raise NoLibraryError(
            f"{found}, without which its speed was not measured; FINETUNE_NATIVE=1 asks for it all the same"
        )


def use_plain_encoder(model: nn.Module) -> None:
    """Undo `use_native_encoder`."""
    for base in _base_models(model):
        base.get_submodule(FAMILIES[type(base).__name__][0]).__dict__.pop("forward", None)


def is_native(model: nn.Module) -> bool:
    """Whether `use_native_encoder` is in effect on some encoder in `model`."""
    return bool(native_layers(model))


def native_layers(model: nn.Module) -> list[nn.Module]:
    """The stacks of layers in `model` that run as a native step."""
    doors = (base.get_submodule(FAMILIES[type(base).__name__][0]) for base in _base_models(model))
    return [door for door in doors if "forward" in door.__dict__]


def find_packings(stacks: Iterable[nn.Module], updated: Collection[int]) -> list[Packing]:
    """Of `native_layers` that have run and whose weights, by `id`, are all `updated` ones: where to pack them anew.

    All of the number format of the first one.
    """
    steps: list[_Served] = [stack.__dict__["forward"].args[0] for stack in stacks if "forward" in stack.__dict__]
    found: list[Packing] = []
    for step in steps:
        old, layers = step.weights.numbers, step.stack.read()
        parameters = layers.parameters()
        if old is None or not all(id(weight) in updated for weight in weights_among(parameters)):
            continue
        if not found or old.dtype == found[0].numbers.dtype:
            found.append(Packing(layers.shape(), parameters, step.weights, old))
    return found


@contextmanager
def fixed_products(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Let products of native steps in `model` take numbers of `dtype`, with and without autocast."""
    steps: list[_Served] = [layers.__dict__["forward"].args[0] for layers in native_layers(model)]
    before = [step.dtype for step in steps]
    try:
        for step in steps:
            step.dtype = dtype
        yield
    finally:
        for step, asked in zip(steps, before, strict=True):
            step.dtype = asked


def _base_models(model: nn.Module) -> Iterator[PreTrainedModel]:
    return (module for module in model.modules() if type(module).__name__ in FAMILIES)  # type: ignore[misc]


@dataclass(eq=False)
class _Served:
    stack: Stack
    dtype: torch.dtype | None  # of numbers in products; None: that of autocast
    weights: PackedWeights = field(default_factory=PackedWeights)
    said: set[str] = field(default_factory=set)

    def say(self, reason: str) -> None:
        if reason not in self.said:
            self.said.add(reason)
            logger.warning("The encoder's layers run one by one, not as a native step: %s.", reason)


def _forward(served: _Served, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
    module = served.stack.module
    layout: TokenLayout | None = kwargs.get("token_layout")
    if layout is None or torch.compiler.is_compiling():
        return type(module).forward(module, hidden_states, *args, **kwargs)
    layers = served.stack.read()
    reason = _why_not(layers, hidden_states)
    if reason is not None:
        served.say(reason)
        return type(module).forward(module, hidden_states, *args, **kwargs)
    return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=_run(served, layers, hidden_states, layout))


def _why_not(layers: Layers, hidden: Tensor) -> str | None:
    if hidden.device.type != "cpu" or hidden.dtype != torch.float32:
        return f"hidden states are {hidden.dtype} on {hidden.device}"
    if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return f"autocast is to {torch.get_autocast_dtype('cpu')}"
    if torch.is_autocast_enabled("cpu") and not load_library().encoder_has_bfloat16():
        return NO_BFLOAT16
    return layers.why_not() or layers.why_not_now()


def _run(served: _Served, layers: Layers, hidden: Tensor, layout: TokenLayout) -> Tensor:
    """(1, packed rows, hidden) -> the same, or (1, reads, hidden) where the layout says what is read."""
    read = layout.read
    rows = None if read is None else (read.read_of_row < len(read.rows)).to(torch.uint8)
    batch = Batch(torch.tensor(layout.lengths, dtype=torch.int32), rows)
    dtype = served.dtype or (torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32)
    (rates,) = layers.rates()
    step = Step(layers.shape(), batch, rates, dtype, served.weights)
    output = run_layers(hidden.squeeze(0), step, layers.parameters()).unsqueeze(0)
    return output if read is None else read.select(output)
