"""Where the layers of each family keep what the native step needs, and whether they are layers that it computes."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import GELUActivation
from transformers.utils import output_capturing

from finetune.models.families import NativeLayers, find_unpadding
from finetune.models.native.parameters import (
    GATE,
    KEY,
    NARROW,
    PROJECTION,
    QUERY,
    VALUE,
    WIDEN,
    Parameters,
    Parts,
    Shape,
    find_places,
)
from finetune.models.native.step import Positions, Rates


@dataclass(frozen=True)
class LayerNames:
    """Names of the submodules of one layer."""

    linears: tuple[str, ...]
    norms: tuple[str, str]  # between attention and feed-forward network, and the outer one
    activation: str
    dropouts: tuple[str, str | None, str]  # attention weights, projection, feed-forward
    parts: Parts = ((QUERY,), (KEY,), (VALUE,), (PROJECTION,), (WIDEN,), (NARROW,))  # what each of the linears is
    pre_norm: bool = False  # norms stand before attention and feed-forward network, which has a gate
    rotary: str = ""  # the attention, if its positions are rotary and it may see a window alone


_BERT = LayerNames(
    linears=(
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ),
    norms=("attention.output.LayerNorm", "output.LayerNorm"),
    activation="intermediate.intermediate_act_fn",
    dropouts=("attention.self.dropout", "attention.output.dropout", "output.dropout"),
)
_DISTILBERT = LayerNames(
    linears=(
        "attention.q_lin",
        "attention.k_lin",
        "attention.v_lin",
        "attention.out_lin",
        "ffn.lin1",
        "ffn.lin2",
    ),
    norms=("sa_layer_norm", "output_layer_norm"),
    activation="ffn.activation",
    dropouts=("attention.dropout", None, "ffn.dropout"),
)
_MODERNBERT = LayerNames(
    linears=("attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"),
    norms=("mlp_norm", "attn_norm"),
    activation="mlp.act",
    dropouts=("attn", "attn.out_drop", "mlp.drop"),
    parts=((QUERY, KEY, VALUE), (PROJECTION,), (WIDEN, GATE), (NARROW,)),
    pre_norm=True,
    rotary="attn",
)
HIDDEN_STATES = "hidden states of single layers are asked for"
NAMES: dict[NativeLayers, LayerNames] = {"bert": _BERT, "distilbert": _DISTILBERT, "modernbert": _MODERNBERT}


@dataclass(frozen=True, eq=False)
class Stack:
    """The layers of one encoder. They are read anew at every call: modules may have been replaced since the last one."""

    module: nn.Module
    layers: str  # the list of layers in the module
    names: LayerNames
    heads: int

    def read(self) -> Layers:
        layers = list(getattr(self.module, self.layers))
        names = self.names
        dropouts = tuple(name for name in names.dropouts if name)
        get_linears, get_norms = attrgetter(*names.linears), attrgetter(*names.norms)
        get_dropouts, get_activation = attrgetter(*dropouts), attrgetter(names.activation)
        return Layers(
            layers,
            [module for layer in layers for module in get_linears(layer)],
            [module for layer in layers for module in get_norms(layer)],
            [get_activation(layer) for layer in layers],
            [get_dropouts(layer) for layer in layers],
            self.heads,
            names,
        )


@dataclass(frozen=True, eq=False)
class Layers:
    """The submodules of all layers, in order; `Any` because modules are told apart only here."""

    modules: list[Any]
    linears: list[Any]  # those of `LayerNames` of each layer
    norms: list[Any]  # two of each layer
    activations: list[Any]
    dropouts: list[tuple[Any, ...]]  # of attention weights, of the projection where the family has one, of feed-forward
    heads: int
    names: LayerNames

    def parameters(self) -> Parameters:
        found: list[Tensor | None] = []
        count = len(self.names.linears)
        for number in range(len(self.modules)):
            linears, norms = self.linears[count * number :][:count], self.norms[2 * number : 2 * number + 2]
            found += [module.weight for module in linears]
            found += [module.bias for module in linears]
            found += [getattr(norm, name, None) for norm in norms for name in ("weight", "bias")]
        shape, present = self.shape(), tuple(tensor is not None for tensor in found)
        places = find_places(self.names.parts, present, shape.hidden, shape.wide)
        return Parameters([tensor for tensor in found if tensor is not None], places)

    def shape(self) -> Shape:
        place, parts = next((place, ones) for place, ones in enumerate(self.names.parts) if WIDEN in ones)
        outputs, hidden = self.linears[place].weight.shape
        wide = outputs // len(parts)
        return Shape(len(self.modules), hidden, wide, self.heads, self.names.pre_norm, self.norms[0].eps)

    def rates(self) -> set[Rates]:
        """Probabilities of dropout of all layers, 0 in evaluation; one where they agree."""
        drawn = [[_rate(module) for module in dropouts] for dropouts in self.dropouts]
        return {Rates(first, rest[0] if len(rest) > 1 else 0.0, rest[-1]) for first, *rest in drawn}

    def positions(self, rotary: nn.Module, hidden: Tensor, ids: Tensor) -> Positions:
        """hidden: (1, rows, hidden). ids: (1, rows), positions of tokens. rotary: the base model's module of angles."""
        kinds = [layer.attention_type for layer in self.modules]
        angles = {kind: _angles(*rotary(hidden, ids, kind)) for kind in dict.fromkeys(kinds)}
        bounds = [attrgetter(self.names.rotary)(layer).sliding_window for layer in self.modules]
        windows = torch.tensor([-1 if bound is None else bound - 1 for bound in bounds])  # the bound is exclusive
        return Positions(windows, tuple(angles[kind] for kind in kinds))

    def why_not(self) -> str | None:
        """Why these modules are not what the kernels compute; None where they are."""
        return self._why_not_modules() or self._why_not_sizes()

    def why_not_now(self) -> str | None:
        """What of a call has to see single layers."""
        if output_capturing._active_collector.get():
            return HIDDEN_STATES
        if any(getattr(layer, "gradient_checkpointing", False) and layer.training for layer in self.modules):
            return "gradient checkpointing is on"
        if len(self.rates()) != 1:
            return "layers differ in dropout or in training mode"
        if any(_is_watched(module) for layer in self.modules for module in layer.modules()):
            return "there are hooks on single layers"
        return None

    def _why_not_modules(self) -> str | None:
        if not all(type(module) is nn.Linear for module in self.linears):
            return "its linear layers are not plain ones (adapters, quantisation)"
        first = self.norms[1:2] if self.names.pre_norm and type(self.norms[1]) is nn.Identity else []
        norms = [norm for norm in self.norms if not any(norm is other for other in first)]
        if not all(type(module) is nn.LayerNorm and module.weight is not None for module in norms):
            return "its norms are not plain ones"
        if len({norm.eps for norm in norms}) != 1:
            return "its norms differ in epsilon"
        other = next((module for module in self.activations if not isinstance(module, GELUActivation)), None)
        if other is not None:
            return f"its activation is {getattr(other, '__name__', type(other).__name__)}, not GELU"
        plain = (nn.Dropout, nn.Identity) if self.names.pre_norm else nn.Dropout
        dropouts = [module for dropouts in self.dropouts for module in dropouts]
        if not all(isinstance(module, plain) or hasattr(module, "attention_dropout") for module in dropouts):
            return "its dropout is not a plain one"
        return None

    def _why_not_sizes(self) -> str | None:
        shape = self.shape()
        sizes = [[shape.size_of(one) for one in ones] for ones in self.names.parts]
        expected = [(sum(outputs for outputs, _ in ones), ones[0][1]) for ones in sizes]
        if [tuple(module.weight.shape) for module in self.linears] != expected * shape.layers:
            return "its layers differ in size"
        if shape.hidden % shape.heads or any(size % 2 for size in (shape.hidden // shape.heads, shape.wide)):
            return (
                f"its sizes are odd ({shape.hidden} in {shape.heads} heads, {shape.wide} in the feed-forward network)"
            )
        parameters = self.parameters().tensors
        if not all(tensor.device.type == "cpu" for tensor in parameters):
            return "it is not on the CPU"
        if not all(tensor.dtype is torch.float32 for tensor in parameters):
            return "its parameters are not float32"
        return None if all(tensor.is_contiguous() for tensor in parameters) else "its parameters are not contiguous"


def find_stack(base: PreTrainedModel) -> Stack | str:
    """The stack of a base model, or why the native step does not serve it."""
    unpadding = find_unpadding(base)
    if unpadding is None or unpadding.native is None:
        return f"{type(base).__name__} has no native kernels"
    config: Any = base.config
    module = base.get_submodule(unpadding.packed)
    stack = Stack(module, unpadding.layers, NAMES[unpadding.native], config.num_attention_heads)
    return stack.read().why_not() or stack


def _rate(module: Any) -> float:
    """ModernBERT's attention drops its weights by itself."""
    if not module.training or isinstance(module, nn.Identity):
        return 0.0
    return module.p if isinstance(module, nn.Dropout) else module.attention_dropout


def _angles(cosines: Tensor, sines: Tensor) -> Tensor:
    """Both of (1, rows, head size), of which the second half is the first one -> (rows, 2, head size / 2)."""
    half = cosines.shape[-1] // 2
    return torch.stack((cosines[0, :, :half], sines[0, :, :half]), dim=1).float()


def _is_watched(module: nn.Module) -> bool:
    """Whether a hook would see a call of `module`; those with which transformers collects outputs ask for themselves."""
    if not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks):
        return False
    hooks = [hook for hook in module._forward_hooks.values() if hook.__module__ != output_capturing.__name__]
    return bool(hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks)
