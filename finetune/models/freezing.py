"""Which weights a name means, and freezing them: whole parameters, or single entries of one, bit by bit.

Zeroed gradients alone do not freeze: AdamW's weight decay and the momentum of earlier steps still move what has no gradient.
So whole parameters that are frozen are not trained at all, and single entries get no gradient (already before gradients are
clipped) and are put back after each step of the optimizer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from finetune.arguments.nearest import allowed_values, nearest
from finetune.errors import Problem, ProblemList, UsageError

ENTRY = re.compile(r"(?P<name>[^\[\]]+)(\[(?P<index>[^\[\]]*)\])?")
_BETWEEN = re.compile(r",(?![^\[]*\])")  # commas outside brackets
_RANGE = re.compile(r"(?<=\.)(\d+)-(\d+)(?=\.|$)")
Masks = dict[nn.Parameter, torch.Tensor | None]


class FrozenEntries:
    """Keeps entries of a model as they are.

    `frozen` maps a parameter to the entries that stay, as flags of its shape; None is all of it, which is then no longer
    trained at all.
    """

    def __init__(self, frozen: Masks) -> None:
        self.kept: list[tuple[nn.Parameter, torch.Tensor, torch.Tensor]] = []
        for parameter, mask in frozen.items():
            if mask is None or bool(mask.all()):
                parameter.requires_grad_(False)
            elif bool(mask.any()):
                mask = mask.to(parameter.device)
                parameter.register_hook(_zeroing(mask))
                self.kept.append((parameter, mask, parameter.detach()[mask].clone()))

    def zero_gradients(self) -> None:
        """Set the gradients of frozen entries to zero."""
        for parameter, mask, _ in self.kept:
            if parameter.grad is not None:
                parameter.grad.masked_fill_(mask.to(parameter.device), 0)

    def after_step(self) -> None:
        """Put frozen entries back as they were when training began."""
        with torch.no_grad():
            for parameter, mask, values in self.kept:
                parameter[mask.to(parameter.device)] = values.to(parameter.device)


def _zeroing(mask: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda gradient: gradient.masked_fill(mask.to(gradient.device), 0)


def split_names(typed: str) -> list[str]:
    """`a,b[:10,3]` -> `a`, `b[:10,3]`."""
    return [part.strip() for part in _BETWEEN.split(typed) if part.strip()]


def find_entries(model: nn.Module, entries: str | Sequence[str]) -> Masks:
    """The parameters that names mean, several entries of one parameter together.

    A name is that of a parameter or a module, in full or within the encoder that all heads share (`encoder.layer.0` for
    `bert.encoder.layer.0`); `0-5` is a range of numbers, `*` anything. `name[index]` is some entries of a parameter.

    Raises:
        UsageError: every name that means nothing, with the nearest, and every index that does not fit.
    """
    known, masks, problems = _Names(model), Masks(), ProblemList()
    for entry in [entries] if isinstance(entries, str) else entries:
        problems.attempt(_add_entry, masks, known, str(entry))
    problems.raise_any(UsageError)
    return masks


class _Names:
    """The names of a model's parameters and modules; those of the shared encoder without its prefix, too."""

    def __init__(self, model: nn.Module) -> None:
        self.parameters: dict[str, nn.Parameter] = dict(model.named_parameters(remove_duplicate=False))
        own = f"{model.base_model_prefix}." if isinstance(model, PreTrainedModel) else ""
        within = {name.removeprefix(own): item for name, item in self.parameters.items() if name.startswith(own)}
        self.parameters = {**within, **self.parameters}

    def all(self) -> list[str]:
        """Parameters and modules."""
        names = dict.fromkeys(self.parameters)
        for name in list(names):
            parts = name.split(".")
            names.update(dict.fromkeys(".".join(parts[:size]) for size in range(1, len(parts))))
        return list(names)

    def match(self, name: str) -> list[nn.Parameter]:
        """The parameters of one name without ranges; `*` is anything."""
        pattern = re.compile(re.escape(name).replace(r"\*", ".*") + r"(\..+)?")
        return [item for other, item in self.parameters.items() if pattern.fullmatch(other)]

    def explain(self, name: str, whole: str) -> Problem:
        """Why a name means nothing: beyond the layers, or misspelt."""
        stack, _, rest = name.partition(".") if not re.search(r"\.\d+", name) else _split_at_number(name)
        numbers = sorted({int(found[1]) for other in self.all() if (found := _numbered(stack, other))})
        number = rest.split(".")[0]
        if numbers and number.isdigit() and int(number) not in numbers:
            return Problem(f"the model has no {stack}.{number} ({whole})", f"{stack} has {numbers[0]} to {numbers[-1]}")
        return Problem(f"the model has no parameter {whole!r}", self._suggest(name))

    def _suggest(self, name: str) -> str:
        everything = self.all()
        match = nearest(name, everything)
        return f"did you mean {match!r}" if match else allowed_values("", [n for n in everything if "." not in n])


def _split_at_number(name: str) -> tuple[str, str, str]:
    found = re.search(r"\.(?=\d)", name)
    assert found is not None
    return name[: found.start()], ".", name[found.end() :]


def _numbered(stack: str, name: str) -> re.Match[str] | None:
    return re.fullmatch(re.escape(stack) + r"\.(\d+)", name)


def _add_entry(masks: Masks, known: _Names, entry: str) -> None:
    match = ENTRY.fullmatch(entry)
    if match is None:
        raise UsageError(known.explain(entry, entry))
    name, index = match["name"], match["index"]
    if index is None:
        masks.update(dict.fromkeys(_find_all(known, name)))
        return
    found = known.match(name)
    if not found:
        raise UsageError(known.explain(name, name))
    if name not in known.parameters:
        raise UsageError(Problem(f"{entry!r} has an index, but {name} is a module", "a parameter takes one"))
    parameter = known.parameters[name]
    mask = torch.zeros(parameter.shape, dtype=torch.bool)
    mask[_read_index(index, parameter, entry)] = True
    before = masks.get(parameter, torch.zeros_like(mask))
    masks[parameter] = None if before is None else before | mask


def _find_all(known: _Names, name: str) -> list[nn.Parameter]:
    """The parameters of a name that may have ranges of numbers; each number of them must be there."""
    found: dict[nn.Parameter, None] = {}
    for single in _expand(name):
        matched = known.match(single)
        if not matched:
            raise UsageError(known.explain(single, name))
        found.update(dict.fromkeys(matched))
    return list(found)


def _expand(name: str) -> Iterable[str]:
    """`layer.0-2` -> `layer.0`, `layer.1`, `layer.2`."""
    match = _RANGE.search(name)
    if match is None:
        return [name]
    first, last = int(match[1]), int(match[2])
    if first > last:
        raise UsageError(Problem(f"the range {match[0]} of {name} runs backwards"))
    return [
        single
        for number in range(first, last + 1)
        for single in _expand(f"{name[: match.start()]}{number}{name[match.end() :]}")
    ]


def _read_index(text: str, parameter: nn.Parameter, entry: str) -> tuple[int | slice, ...]:
    """`5`, `5,:`, `0:10,3`: whole numbers and slices by commas, within the shape of the parameter."""
    try:
        index = tuple(_read_place(part.strip()) for part in text.split(","))
    except ValueError:
        allowed = "an index is made of whole numbers and slices, such as [5], [0:10,3]"
        raise UsageError(Problem(f"{entry!r} has no index that can be read", allowed)) from None
    sizes = parameter.shape
    outside = any(isinstance(at, int) and not -size <= at < size for at, size in zip(index, sizes, strict=False))
    if len(index) > len(sizes) or outside:
        raise UsageError(Problem(f"{entry!r} lies outside the parameter", f"its shape is {tuple(sizes)}"))
    return index


def _read_place(part: str) -> int | slice:
    if ":" not in part:
        return int(part)
    return slice(*(int(item) if item.strip() else None for item in part.split(":")))


def invert(model: nn.Module, masks: Mapping[nn.Parameter, torch.Tensor | None]) -> Masks:
    """Everything of the model but those entries."""
    inverted: Masks = {}
    for parameter in model.parameters():
        if parameter not in masks:
            inverted[parameter] = None
        elif (mask := masks[parameter]) is not None:
            inverted[parameter] = ~mask
    return inverted
