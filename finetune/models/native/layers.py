"""Where the layers of each family keep what the native step needs, and whether they are layers that it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    """The layers of one encoder, as the native step reads them anew at every call (modules may be replaced)."""

    module: nn.Module
    names: LayerNames
    heads: int

    def layers(self) -> list[nn.Module]:
        layers: Any = self.module.layer
        return list(layers)

    def linears(self) -> list[Any]:
        return [layer.get_submodule(name) for layer in self.layers() for name in self.names.linears]

    def norms(self) -> list[Any]:
        return [layer.get_submodule(name) for layer in self.layers() for name in self.names.norms]

    def parameters(self) -> list[Tensor]:
        """`step.POINTERS` of each layer."""
        found: list[Tensor] = []
        for layer in self.layers():
            linears = [layer.get_submodule(name) for name in self.names.linears]
            norms = [layer.get_submodule(name) for name in self.names.norms]
            found += [module.weight for module in linears]  # type: ignore[misc]
            found += [module.bias for module in linears]  # type: ignore[misc]
            found += [tensor for norm in norms for tensor in (norm.weight, norm.bias)]  # type: ignore[misc]
        return found

    def shape(self) -> Shape:
        wide, hidden = self.linears()[4].weight.shape
        return Shape(len(self.layers()), hidden, wide, self.heads, self.norms()[0].eps)

    def rates(self) -> list[Rates]:
        """Of each layer: probabilities of dropout, 0 in evaluation."""
        return [Rates(*(_rate(layer, name) for name in self.names.dropouts)) for layer in self.layers()]

    def why_not(self) -> str | None:
        """Why these modules are not what the kernels compute; None where they are."""
        return _why_not_modules(self) or _why_not_sizes(self)

    def why_not_now(self) -> str | None:
        """What of a call has to see single layers, or is no longer as it was."""
        if output_capturing._active_collector.get():
            return "hidden states of single layers are asked for"
        if any(getattr(layer, "gradient_checkpointing", False) and layer.training for layer in self.layers()):
            return "gradient checkpointing is on"
        if len(set(self.rates())) != 1:
            return "layers differ in dropout or in training mode"
        if any(_is_watched(module) for layer in self.layers() for module in layer.modules()):
            return "there are hooks on single layers"
        return None


def find_stack(base: PreTrainedModel) -> Stack | str:
    """The stack of a base model, or why the native step does not serve it."""
    name = type(base).__name__
    if name not in FAMILIES:
        return f"{name} has no native kernels"
    door, names = FAMILIES[name]
    config: Any = base.config
    stack = Stack(base.get_submodule(door), names, config.num_attention_heads)
    return stack.why_not() or stack


def _rate(layer: nn.Module, name: str | None) -> float:
    if name is None:
        return 0.0
    module: Any = layer.get_submodule(name)
    return module.p if module.training else 0.0


def _why_not_modules(stack: Stack) -> str | None:
    if not all(type(module) is nn.Linear and module.bias is not None for module in stack.linears()):
        return "its linear layers are not plain ones with a bias (adapters, quantisation)"
    if not all(type(module) is nn.LayerNorm and module.bias is not None for module in stack.norms()):
        return "its norms are not plain ones with a bias"
    if len({norm.eps for norm in stack.norms()}) != 1:
        return "its norms differ in epsilon"
    names = stack.names
    for layer in stack.layers():
        activation: Any = layer.get_submodule(names.activation)
        if not isinstance(activation, GELUActivation):
            return f"its activation is {type(activation).__name__}, not GELU"
        if not all(isinstance(layer.get_submodule(name), nn.Dropout) for name in names.dropouts if name):
            return "its dropout is not a plain one"
    return None


def _why_not_sizes(stack: Stack) -> str | None:
    parameters, shape = stack.parameters(), stack.shape()
    linears = stack.linears()
    expected = [(shape.hidden, shape.hidden)] * 4 + [(shape.wide, shape.hidden), (shape.hidden, shape.wide)]
    if [tuple(module.weight.shape) for module in linears] != expected * shape.layers:
        return "its layers differ in size"
    if shape.hidden % shape.heads or any(size % 2 for size in (shape.hidden // shape.heads, shape.wide)):
        return f"sizes {shape.hidden}, {shape.wide} and heads {shape.heads} are not even"
    if not all(tensor.device.type == "cpu" for tensor in parameters):
        return "it is not on the CPU"
    if not all(tensor.dtype.is_floating_point and tensor.element_size() == 4 for tensor in parameters):
        return "its parameters are not float32"
    return None if all(tensor.is_contiguous() for tensor in parameters) else "its parameters are not contiguous"


def _is_watched(module: nn.Module) -> bool:
    """Whether a hook would see a call of `module`; those with which transformers collects outputs ask for themselves."""
    forward = [hook for hook in module._forward_hooks.values() if hook.__module__ != output_capturing.__name__]
    return bool(forward or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks)
