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

from finetune.models.native.step import Rates, Shape


@dataclass(frozen=True)
class LayerNames:
    """Names of the submodules of one layer."""

    linears: tuple[str, str, str, str, str, str]  # queries, keys, values, projection, feed-forward in and out
    norms: tuple[str, str]  # after the attention, after the feed-forward network
    activation: str
    dropouts: tuple[str, str | None, str]  # attention weights, projection, feed-forward


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
# Base model class -> (the stack that holds the layers, their names).
FAMILIES = {
    "BertModel": ("encoder", _BERT),
    "RobertaModel": ("encoder", _BERT),
    "XLMRobertaModel": ("encoder", _BERT),
    "CamembertModel": ("encoder", _BERT),
    "ElectraModel": ("encoder", _BERT),
    "DistilBertModel": ("transformer", _DISTILBERT),
}


@dataclass(frozen=True, eq=False)
class Stack:
    """The layers of one encoder. They are read anew at every call: modules may have been replaced since the last one."""

    module: nn.Module
    names: LayerNames
    heads: int

    def read(self) -> Layers:
        stacked: Any = self.module.layer
        layers = list(stacked)
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
        )


@dataclass(frozen=True, eq=False)
class Layers:
    """The submodules of all layers, in order; `Any` because modules are told apart only here."""

    modules: list[Any]
    linears: list[Any]  # six of each layer
    norms: list[Any]  # two of each layer
    activations: list[Any]
    dropouts: list[tuple[Any, ...]]  # of attention weights, of the projection where the family has one, of feed-forward
    heads: int

    def parameters(self) -> list[Tensor]:
        """`step.POINTERS` of each layer."""
        found: list[Tensor] = []
        for number in range(len(self.modules)):
            linears, norms = self.linears[6 * number : 6 * number + 6], self.norms[2 * number : 2 * number + 2]
            found += [module.weight for module in linears]
            found += [module.bias for module in linears]
            found += [tensor for norm in norms for tensor in (norm.weight, norm.bias)]
        return found

    def shape(self) -> Shape:
        wide, hidden = self.linears[4].weight.shape
        return Shape(len(self.modules), hidden, wide, self.heads, self.norms[0].eps)

    def rates(self) -> set[Rates]:
        """Probabilities of dropout of all layers, 0 in evaluation; one where they agree."""
        drawn = [[module.p if module.training else 0.0 for module in dropouts] for dropouts in self.dropouts]
        return {Rates(first, rest[0] if len(rest) > 1 else 0.0, rest[-1]) for first, *rest in drawn}

    def why_not(self) -> str | None:
        """Why these modules are not what the kernels compute; None where they are."""
        return self._why_not_modules() or self._why_not_sizes()

    def why_not_now(self) -> str | None:
        """What of a call has to see single layers."""
        if output_capturing._active_collector.get():
            return "hidden states of single layers are asked for"
        if any(getattr(layer, "gradient_checkpointing", False) and layer.training for layer in self.modules):
            return "gradient checkpointing is on"
        if len(self.rates()) != 1:
            return "layers differ in dropout or in training mode"
        if any(_is_watched(module) for layer in self.modules for module in layer.modules()):
            return "there are hooks on single layers"
        return None

    def _why_not_modules(self) -> str | None:
        if not all(type(module) is nn.Linear and module.bias is not None for module in self.linears):
            return "its linear layers are not plain ones with a bias (adapters, quantisation)"
        if not all(type(module) is nn.LayerNorm and module.bias is not None for module in self.norms):
            return "its norms are not plain ones with a bias"
        if len({norm.eps for norm in self.norms}) != 1:
            return "its norms differ in epsilon"
        other = next((module for module in self.activations if not isinstance(module, GELUActivation)), None)
        if other is not None:
            return f"its activation is {getattr(other, '__name__', type(other).__name__)}, not GELU"
        if not all(isinstance(module, nn.Dropout) for dropouts in self.dropouts for module in dropouts):
            return "its dropout is not a plain one"
        return None

    def _why_not_sizes(self) -> str | None:
        parameters, shape = self.parameters(), self.shape()
        expected = [(shape.hidden, shape.hidden)] * 4 + [(shape.wide, shape.hidden), (shape.hidden, shape.wide)]
        if [tuple(module.weight.shape) for module in self.linears] != expected * shape.layers:
            return "its layers differ in size"
        if shape.hidden % shape.heads or any(size % 2 for size in (shape.hidden // shape.heads, shape.wide)):
            return (
                f"its sizes are odd ({shape.hidden} in {shape.heads} heads, {shape.wide} in the feed-forward network)"
            )
        if not all(tensor.device.type == "cpu" for tensor in parameters):
            return "it is not on the CPU"
        if not all(tensor.dtype is torch.float32 for tensor in parameters):
            return "its parameters are not float32"
        return None if all(tensor.is_contiguous() for tensor in parameters) else "its parameters are not contiguous"


def find_stack(base: PreTrainedModel) -> Stack | str:
    """The stack of a base model, or why the native step does not serve it."""
    name = type(base).__name__
    if name not in FAMILIES:
        return f"{name} has no native kernels"
    door, names = FAMILIES[name]
    config: Any = base.config
    stack = Stack(base.get_submodule(door), names, config.num_attention_heads)
    return stack.read().why_not() or stack


def _is_watched(module: nn.Module) -> bool:
    """Whether a hook would see a call of `module`; those with which transformers collects outputs ask for themselves."""
    if not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks):
        return False
    hooks = [hook for hook in module._forward_hooks.values() if hook.__module__ != output_capturing.__name__]
    return bool(hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks)
