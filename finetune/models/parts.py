"""The parts of a model, whatever its family: which weights are of the embeddings, which layer, what is above, the head."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

HEAD, ABOVE, EMBEDDINGS = "head", "above the layers", "embeddings"
_NUMBERED = re.compile(r"(?P<stack>.*?)\.(?P<number>\d+)\.")  # the first number of a name is that of its layer


@dataclass(frozen=True)
class Part:
    """A part of a model: its name for people, and how many layers stand between it and the head (0: the head itself)."""

    name: str
    below: int


def find_trained(module: nn.Module) -> PreTrainedModel:
    """The model that is trained: the module itself, or the student within the one that holds student and teacher."""
    return next(found for found in module.modules() if isinstance(found, PreTrainedModel))


def find_beside(module: nn.Module) -> dict[str, nn.Parameter]:
    """What a module trains beside the model in it, by name."""
    own = {id(item) for item in find_trained(module).parameters()}
    return {name: item for name, item in module.named_parameters() if id(item) not in own}


def base_prefix(model: PreTrainedModel) -> str:
    """What the names of the shared encoder's weights begin with; empty where the model is its own encoder, as T5."""
    return "" if model.base_model is model else f"{model.base_model_prefix}."


def find_parts(model: PreTrainedModel) -> dict[str, Part]:
    """The part of each parameter by its name, each parameter once.

    What a family has beside layers and embeddings, such as a pooler, is of the top layer's age and learns like it. Layers of
    an encoder and of a decoder that stand at the same height are told apart by name and learn alike.
    """
    prefix = base_prefix(model)
    names = [name for name, _ in model.named_parameters()]
    own = {name: name.removeprefix(prefix) for name in names if name.startswith(prefix) and not _is_output(model, name)}
    heights = _count_layers(own.values())
    embedded = _names_of_embeddings(model)
    return {name: _place(own.get(name), name in embedded, heights) for name in names}


def _is_output(model: PreTrainedModel, name: str) -> bool:
    """Whether a weight is of the output layer of a model without a base of its own, and not the input's, tied to it."""
    return model.base_model is model and name.startswith(("lm_head.", "classifier.", "score.", "qa_outputs."))


def _count_layers(names: Iterable[str]) -> dict[str, int]:
    heights: dict[str, int] = {}
    for name in names:
        if found := _NUMBERED.match(name):
            heights[found["stack"]] = max(heights.get(found["stack"], 0), int(found["number"]) + 1)
    return heights


def _names_of_embeddings(model: PreTrainedModel) -> set[str]:
    modules = {name for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    return {name for name, _ in model.named_parameters() if name.rpartition(".")[0] in modules or "embed" in name}


def _place(name: str | None, is_embedded: bool, heights: Mapping[str, int]) -> Part:
    if name is None:
        return Part(HEAD, 0)
    if found := _NUMBERED.match(name):
        stack, number = found["stack"], int(found["number"])
        return Part(f"{stack}.{number}", heights[stack] - number)
    return Part(EMBEDDINGS, max(heights.values(), default=0) + 1) if is_embedded else Part(ABOVE, 1)


def find_top_layers(model: PreTrainedModel, count: int) -> list[nn.Module]:
    """The modules of the `count` top layers of every stack, and of what pools them.

    Raises:
        LookupError: with the number of layers, where the model has fewer.
    """
    base, parts = model.base_model, find_parts(model)
    heights = _count_layers([name.removeprefix(base_prefix(model)) for name, part in parts.items() if part.below > 0])
    if count > max(heights.values(), default=0):
        raise LookupError(max(heights.values(), default=0))
    layers = [
        base.get_submodule(f"{stack}.{number}")
        for stack, height in heights.items()
        for number in range(max(height - count, 0), height)
    ]
    return [*layers, *(child for name, child in base.named_children() if name == "pooler" and child is not None)]
