"""Freezing parts of a model, to single rows of a matrix, bit by bit.

Zeroed gradients alone do not freeze: AdamW's weight decay and the momentum of earlier steps still move what has no gradient.
So frozen entries get no gradient (already before gradients are clipped) and are put back after each optimizer step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from finetune.arguments.nearest import allowed_values
from finetune.errors import Problem, UsageError
from finetune.lm_experiments.preprocessing import find_word_tokens

ENTRY = re.compile(r"(?P<name>[^\[\]]+)(\[(?P<index>[^\[\]]*)\])?")
Masks = dict[nn.Parameter, torch.Tensor | None]


class FrozenModelCallback:
    """Keeps entries of a model as they are. Called with (epoch, batch) after `backward`, before the optimizer's step.

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

    def __call__(self, epoch: int, batch: object) -> None:
        """Set the gradients of frozen entries to zero."""
        del epoch, batch
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


class PartiallyFrozenModelCallback(FrozenModelCallback):
    """Freeze some parameters, or all but some: `transformer.h.0`, `transformer.wte.weight[5]`, `lm_head.weight[:10,3]`.

    Args:
        model: whose parameters are named.
        tokenizer: of the model; not needed.
        frozen_params: names of parameters or of modules, with indices of entries or without; the rest is trained.
        unfrozen_params: the same the other way round.

    Raises:
        UsageError: both or none are given; every name that the model lacks and every index that does not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        frozen_params: str | Sequence[str] | None = None,
        unfrozen_params: str | Sequence[str] | None = None,
    ) -> None:
        del tokenizer
        if (frozen_params is None) == (unfrozen_params is None):
            found = "PartiallyFrozenModelCallback takes frozen_params or unfrozen_params"
            raise UsageError(Problem(found, remedy="give one of them"))
        named = find_entries(model, frozen_params if frozen_params is not None else unfrozen_params or [])
        super().__init__(named if frozen_params is not None else invert(model, named))


class FreezeWordTokensCallback(FrozenModelCallback):
    """Freeze the embeddings of words of one token each; all else is trained."""

    def __init__(
        self,
        model: object,
        tokenizer: PreTrainedTokenizerBase,
        *,
        words_to_freeze: str | Sequence[str],
        word_embeddings_name: str | None = None,
    ) -> None:
        super().__init__(_rows_of_words(model, tokenizer, words_to_freeze, word_embeddings_name))


class UnfreezeWordTokensCallback(FrozenModelCallback):
    """Train the embeddings of words of one token each and nothing else."""

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        *,
        words_to_unfreeze: str | Sequence[str],
        word_embeddings_name: str | None = None,
    ) -> None:
        super().__init__(invert(model, _rows_of_words(model, tokenizer, words_to_unfreeze, word_embeddings_name)))


def find_entries(model: nn.Module, entries: str | Sequence[str]) -> Masks:
    """The parameters that `name`, `module` or `name[index]` mean, several of one parameter together.

    Raises:
        UsageError: every unknown name, with the nearest, and every index that does not fit.
    """
    known: dict[str, nn.Parameter] = dict(model.named_parameters(remove_duplicate=False))
    masks: Masks = {}
    problems: list[Problem] = []
    for entry in [entries] if isinstance(entries, str) else entries:
        try:
            _add_entry(masks, known, str(entry))
        except UsageError as error:
            problems.extend(error.problems)
    if problems:
        raise UsageError(*problems)
    return masks


def _add_entry(masks: Masks, known: dict[str, nn.Parameter], entry: str) -> None:
    match = ENTRY.fullmatch(entry)
    name = match["name"] if match else entry
    found = [parameter for other, parameter in known.items() if other == name or other.startswith(f"{name}.")]
    if match is None or not found:
        raise UsageError(Problem(f"the model has no parameter {name!r}", allowed_values(name, known)))
    if match["index"] is None:
        masks.update(dict.fromkeys(found))
        return
    if name not in known:
        raise UsageError(Problem(f"{entry!r} has an index, but {name} is a module", "a parameter takes one"))
    mask = torch.zeros(known[name].shape, dtype=torch.bool)
    mask[_read_index(match["index"], known[name], entry)] = True
    before = masks.get(known[name], torch.zeros_like(mask))
    masks[known[name]] = None if before is None else before | mask


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


def invert(model: nn.Module, masks: Masks) -> Masks:
    """Everything of the model but those entries."""
    inverted: Masks = {}
    for parameter in model.parameters():
        if parameter not in masks:
            inverted[parameter] = None
        elif (mask := masks[parameter]) is not None:
            inverted[parameter] = ~mask
    return inverted


def _rows_of_words(
    model: Any, tokenizer: PreTrainedTokenizerBase, words: str | Sequence[str], name: str | None
) -> Masks:
    ids = torch.from_numpy(find_word_tokens(words, tokenizer))
    weights = [model.get_input_embeddings().weight] if name is None else list(find_entries(model, name))
    masks: Masks = {}
    for weight in weights:
        mask = torch.zeros(weight.shape, dtype=torch.bool)
        mask[ids] = True
        masks[weight] = mask
    return masks
