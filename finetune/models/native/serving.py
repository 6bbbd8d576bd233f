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
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPastAndCrossAttentions

from finetune.models.families import Unpadding, find_unpadding
from finetune.models.native.building import NoLibraryError, load_library
from finetune.models.native.layers import HIDDEN_STATES, Layers, Stack, find_stack
from finetune.models.native.step import Batch, PackedWeights, Positions, Step, run_layers
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
    for base, stack in zip(bases, stacks, strict=True):
        assert isinstance(stack, Stack)
        forward = _forward_base if stack.module is base else _forward_stack
        stack.module.__dict__["forward"] = partial(forward, _Served(stack, dtype))
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
    for module in native_layers(model):
        module.__dict__.pop("forward", None)


def is_native(model: nn.Module) -> bool:
    """Whether `use_native_encoder` is in effect on some encoder in `model`."""
    return bool(native_layers(model))


def native_layers(model: nn.Module) -> list[nn.Module]:
    """The stacks of layers in `model` that run as a native step."""
    doors = (base.get_submodule(_unpadding_of(base).packed) for base in _base_models(model))
    return [door for door in doors if _served_by(door) is not None]


def find_packings(stacks: Iterable[nn.Module], updated: Collection[int]) -> list[Packing]:
    """Of `native_layers` that have run and whose weights, by `id`, are all `updated` ones: where to pack them anew.

    All of the number format of the first one.
    """
    found: list[Packing] = []
    for step in filter(None, map(_served_by, stacks)):
        old, layers = step.weights.numbers, step.stack.read()
        if old is None:
            continue
        parameters = layers.parameters()
        if not all(id(weight) in updated for weight in parameters.weights()):
            continue
        if not found or old.dtype == found[0].numbers.dtype:
            found.append(Packing(layers.shape(), parameters, step.weights, old))
    return found


@contextmanager
def fixed_products(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Let products of native steps in `model` take numbers of `dtype`, with and without autocast."""
    steps = list(filter(None, map(_served_by, native_layers(model))))
    before = [step.dtype for step in steps]
    try:
        for step in steps:
            step.dtype = dtype
        yield
    finally:
        for step, asked in zip(steps, before, strict=True):
            step.dtype = asked


def _base_models(model: nn.Module) -> Iterator[PreTrainedModel]:
    """Those whose family has native kernels."""
    found = ((module, find_unpadding(module)) for module in model.modules())
    return (module for module, row in found if row is not None and row.native)  # type: ignore[misc]


def _unpadding_of(base: nn.Module) -> Unpadding:
    unpadding = find_unpadding(base)
    assert unpadding is not None, f"{type(base).__name__} is none of `_base_models`"
    return unpadding


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


def _served_by(module: nn.Module) -> _Served | None:
    """What serves the layers of `module`, if a native step does."""
    forward = module.__dict__.get("forward")
    return forward.args[0] if isinstance(forward, partial) and forward.func in (_forward_stack, _forward_base) else None


def _forward_stack(served: _Served, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
    """In the place of the module that holds the layers and calls them one after the other."""
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


def _forward_base(served: _Served, *args: Any, **kwargs: Any) -> Any:
    """In the place of a base model that calls its layers itself, between its embeddings and a last norm (ModernBERT)."""
    module: Any = served.stack.module
    layout: TokenLayout | None = kwargs.get("token_layout")
    if layout is None or args or torch.compiler.is_compiling():
        return type(module).forward(module, *args, **kwargs)
    asked = kwargs.get("output_hidden_states")
    layers = served.stack.read()
    reason = _why_not(layers, next(module.embeddings.parameters()))
    if module.config.output_hidden_states if asked is None else asked:
        reason = HIDDEN_STATES
    if reason is not None:
        served.say(reason)
        return type(module).forward(module, **kwargs)
    hidden = module.embeddings(input_ids=kwargs.get("input_ids"), inputs_embeds=kwargs.get("inputs_embeds"))
    positions = layers.positions(module.rotary_emb, hidden, kwargs["position_ids"])
    return BaseModelOutput(last_hidden_state=module.final_norm(_run(served, layers, hidden, layout, positions)))


def _why_not(layers: Layers, hidden: Tensor) -> str | None:
    """hidden: what enters the layers, or a parameter that computes it."""
    if hidden.device.type != "cpu" or hidden.dtype != torch.float32:
        return f"hidden states are {hidden.dtype} on {hidden.device}"
    if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return f"autocast is to {torch.get_autocast_dtype('cpu')}"
    if torch.is_autocast_enabled("cpu") and not load_library().encoder_has_bfloat16():
        return NO_BFLOAT16
    return layers.why_not() or layers.why_not_now()


def _run(
    served: _Served, layers: Layers, hidden: Tensor, layout: TokenLayout, positions: Positions | None = None
) -> Tensor:
    """(1, packed rows, hidden) -> the same, or (1, reads, hidden) where the layout says what is read."""
    read = layout.read
    rows = None if read is None else (read.read_of_row < len(read.rows)).to(torch.uint8)
    batch = Batch(torch.tensor(layout.lengths, dtype=torch.int32), rows)
    dtype = served.dtype or (torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32)
    (rates,) = layers.rates()
    step = Step(layers.shape(), batch, rates, dtype, served.weights, positions)
    output = run_layers(hidden.squeeze(0), step, layers.parameters()).unsqueeze(0)
    return output if read is None else read.select(output)
