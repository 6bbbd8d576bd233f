"""Masked-language-model heads that compute vocabulary logits only where a label is.

Fifteen percent of the tokens carry a label, yet the projection to the vocabulary is a quarter of BERT's arithmetic and most
of XLM-R's. The base model's last hidden state is gathered at the labelled positions before the head sees it; the head,
its loss and its weights stay untouched. The positions travel with the call, as the keyword argument `labelled_positions`:
a collator adds them (`select_labelled`, on the host, so that an accelerator never waits for their number), or they are
derived from `labels` when the model is called with labels.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from finetune.encoding.padding import IGNORED
from finetune.models.families import has_sparse_head

_HANDLES = "_sparse_head_handles"


def select_labelled(labels: Tensor, *, round_to: int = 32) -> tuple[Tensor, Tensor]:
    """Positions and labels of the labelled tokens of `labels`, (batch, length), -100 where there is none.

    Returns (1, n) positions in the flattened (batch * length) and (1, n) labels; n is rounded up to a multiple of
    `round_to` with the first position and the label -100, because every new shape costs oneDNN a new kernel.
    """
    flat = labels.reshape(-1)
    found = (flat != IGNORED).nonzero().squeeze(1)
    size = min(-(-max(len(found), 1) // round_to) * round_to, max(len(flat), 1))
    positions = found.new_zeros(size)
    positions[: len(found)] = found
    selected = flat.new_full((size,), IGNORED)
    selected[: len(found)] = flat[found]
    return positions[None], selected[None]


def use_sparse_mlm_head(model: nn.Module, *, round_to: int = 32) -> str | None:
    """Make every masked-language-model head in `model` sparse, in place.

    A call with `labels` (batch, length), or with `labelled_positions` (any shape) of the flattened batch, then returns
    logits of shape (*positions, vocabulary) in place of (batch, length, vocabulary), and the same loss. A call with
    neither is as before. Returns None, or the reason why the head stays full.
    """
    heads = [module for module in model.modules() if has_sparse_head(module)]
    if not heads:
        return f"{type(model).__name__} has no masked-language-model head that can be given single positions"
    for head in heads:
        _make_sparse(head, round_to)  # type: ignore[arg-type]
    return None


def is_sparse(model: nn.Module) -> bool:
    """Whether `use_sparse_mlm_head` is in effect on the head of `model`."""
    return has_sparse_head(model) and _HANDLES in model.__dict__


def use_full_mlm_head(model: nn.Module) -> None:
    """Undo `use_sparse_mlm_head`."""
    for module in model.modules():
        for handle in module.__dict__.pop(_HANDLES, ()):
            handle.remove()


def _make_sparse(model: PreTrainedModel, round_to: int) -> None:
    if _HANDLES in model.__dict__:
        return
    parameters = tuple(inspect.signature(type(model).forward).parameters)[1:]
    model.__dict__[_HANDLES] = (
        model.register_forward_pre_hook(_SelectLabels(parameters, round_to), with_kwargs=True),
        model.base_model.register_forward_hook(_gather_labelled, with_kwargs=True),
    )


@dataclass(frozen=True)
class _SelectLabels:
    """Pre-hook of a model with a head: turns padded labels into positions and the labels there."""

    parameters: tuple[str, ...]
    round_to: int

    def __call__(self, _module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        call = dict(zip(self.parameters, args, strict=False)) | kwargs
        if call.get("labels") is None or "labelled_positions" in call:
            return (), call
        positions, labels = select_labelled(call["labels"], round_to=self.round_to)
        return (), call | {"labelled_positions": positions, "labels": labels}


def _gather_labelled(_module: nn.Module, _args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
    """Forward hook of the base model: (batch, length, hidden) -> (*positions, hidden)."""
    positions: Tensor | None = kwargs.get("labelled_positions")
    if positions is None:
        return output
    states = output.last_hidden_state
    gathered = states.flatten(0, 1).index_select(0, positions.reshape(-1).to(states.device))
    output.last_hidden_state = gathered.view(*positions.shape, states.shape[-1])
    return output
