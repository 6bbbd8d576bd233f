"""Unpadding at the encoder's door: the layers in between see only real tokens, the heads see what they always saw.

Each family has its doors, told in `models/families.py`: the modules before and after which tokens are packed and padded
again. The doors are forward
hooks that hold no state of a call, so a model with doors can be copied, wrapped, checkpointed and saved like any other,
and what it saves is a plain model. The layout of a call is made at the entrance of the base model and travels through
the layers' keyword arguments to the attention function.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from finetune.models.families import Unpadding, find_unpadding, reads_first_only
from finetune.models.unpadding.attention import ATTENTION_NAME, register_attention
from finetune.models.unpadding.disentangled import (
    carry_on_mask,
    close_disentangled,
    open_disentangled,
    why_not_disentangled,
)
from finetune.models.unpadding.layout import Rounding, TokenLayout, build_layout
from finetune.models.unpadding.read_rows import compute_whole_layer, read_last_layer

logger = logging.getLogger(__name__)

_NOT_SERVED = ("encoder_hidden_states", "past_key_values", "output_attentions")
_HANDLES = "_unpadding_handles"


def unpad_encoder(
    model: nn.Module, *, round_tokens_to: int = 32, round_length_to: int = 16, fast_dropout: bool = True
) -> str | None:
    """Open the doors of every supported encoder inside `model`, in place.

    round_tokens_to: packed rows are filled up to a multiple of this. round_length_to: likewise the length to which
    sentences are padded around the attention where no kernel takes packed ones. fast_dropout: drop attention
    probabilities with masks of `finetune.models.fast_dropout` on a CPU.

    Returns None when unpadding is on, else the reason why the model stays padded (and nothing was changed).
    """
    bases = list(_base_models(model))
    if not bases:
        return f"{type(model).__name__} has no door for unpadding (its family computes attention in its own way)"
    reason = next(filter(None, map(_why_not, bases)), None)
    if reason is not None:
        return reason
    register_attention()
    of_classifiers = {id(module.base_model) for module in model.modules() if reads_first_only(module)}
    for base in bases:
        _open_doors(base, Rounding(round_tokens_to, round_length_to), fast_dropout, id(base) in of_classifiers)
    return None


def pad_encoder(model: nn.Module) -> None:
    """Undo `unpad_encoder`."""
    for base in _base_models(model):
        handles, implementation = base.__dict__.pop(_HANDLES, ((), None))
        for handle in handles:
            handle.remove()
        if not handles:
            continue
        unpadding = _unpadding_of(base)
        compute_whole_layer(unpadding.find_last_layer(base))
        if unpadding.disentangled:
            close_disentangled(base.get_submodule(unpadding.packed))
        else:
            base.set_attn_implementation(implementation)


def is_unpadded(model: nn.Module) -> bool:
    """Whether `unpad_encoder` is in effect on some encoder in `model`."""
    return any(_HANDLES in base.__dict__ for base in _base_models(model))


def _base_models(model: nn.Module) -> Iterator[PreTrainedModel]:
    return (module for module in model.modules() if find_unpadding(module) is not None)  # type: ignore[misc]


def _unpadding_of(base: nn.Module) -> Unpadding:
    unpadding = find_unpadding(base)
    assert unpadding is not None, f"{type(base).__name__} is none of `_base_models`"
    return unpadding


def _why_not(base: PreTrainedModel) -> str | None:
    config = base.config
    name = type(base).__name__
    if getattr(config, "is_decoder", False):
        return f"{name} is configured as a decoder, whose attention is not that of an encoder"
    if getattr(config, "chunk_size_feed_forward", 0):
        return f"{name} cuts its feed-forward layers into chunks (chunk_size_feed_forward), which needs padded batches"
    if _unpadding_of(base).disentangled and (reason := why_not_disentangled(base)):
        return reason
    if config.output_attentions:
        return "attention weights are asked for in the model's config (output_attentions)"
    return None


def _open_doors(base: PreTrainedModel, rounding: Rounding, fast_dropout: bool, reads_first: bool) -> None:
    if _HANDLES in base.__dict__:
        return
    parameters = tuple(inspect.signature(type(base).forward).parameters)[1:]
    unpadding = _unpadding_of(base)
    entrance = _Entrance(rounding, fast_dropout, parameters, reads_first, unpadding.disentangled)
    read_last_layer(unpadding.find_last_layer(base), unpadding.last_layer)
    door = unpadding.packed
    hooks = [
        base.register_forward_pre_hook(entrance, with_kwargs=True),
        # Prepended: other hooks of the base model (those of a sparse head) are to see padded shapes.
        base.register_forward_hook(_pad_inner_hidden_states, with_kwargs=True, prepend=True),
    ]
    if unpadding.disentangled:
        hooks += open_disentangled(base.get_submodule(door))
    elif door:
        encoder = base.get_submodule(door)
        hooks.append(encoder.register_forward_pre_hook(_pack_hidden_states, with_kwargs=True))
        hooks.append(encoder.register_forward_hook(_pad_last_hidden_state, with_kwargs=True))
    else:
        hooks.append(base.register_forward_pre_hook(_pack_ids, with_kwargs=True))
        hooks.append(base.register_forward_hook(_pad_last_hidden_state, with_kwargs=True, prepend=True))
    base.__dict__[_HANDLES] = (hooks, base.config._attn_implementation)
    if not unpadding.disentangled:
        base.set_attn_implementation(ATTENTION_NAME)


@dataclass
class _Entrance:
    """Pre-hook of a base model: turns the attention mask of a call into its layout, or says why not (once a reason)."""

    rounding: Rounding
    fast_dropout: bool
    parameters: tuple[str, ...]  # names of the base model's positional arguments
    reads_first: bool = False  # the head reads the first position of each text and nowhere else
    on_mask: bool = False  # the layout travels on the mask, not beside it
    said: set[str] = field(default_factory=set)

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        call = dict(zip(self.parameters, args, strict=False)) | kwargs
        lengths, read = call.pop("sequence_lengths", None), call.pop("read_positions", None)
        reason = self._why_padded(call)
        if reason is not None:
            self._say(reason)
            return (), call
        mask = _mask(call)
        layout = call["token_layout"] = build_layout(
            mask,
            lengths=lengths,
            rounding=self.rounding,
            fast_dropout=self.fast_dropout,
            read_positions=self._read_positions(module, call, read, mask),
        )
        return (), call | {"attention_mask": carry_on_mask(mask, layout) if self.on_mask else None}

    def _read_positions(self, base: Any, call: dict[str, Any], given: Tensor | None, mask: Tensor) -> Tensor | None:
        """Positions of the flattened batch that are read after the last layer, or None for all.

        Those that the call names (`read_positions`, or the `labelled_positions` of a sparse head), and the first of each
        text where a pooler or the head reads it.
        """
        asked = call.get("output_hidden_states")
        given = call.get("labelled_positions") if given is None else given
        if (base.config.output_hidden_states if asked is None else asked) or (given is None and not self.reads_first):
            return None
        firsts = torch.arange(0, mask.numel(), mask.shape[1], device=mask.device)
        if given is None:
            return firsts
        pools = self.reads_first or getattr(base, "pooler", None) is not None
        return torch.cat((given.reshape(-1).to(mask.device), firsts)) if pools else given

    def _why_padded(self, call: dict[str, Any]) -> str | None:
        asked = [name for name in _NOT_SERVED if call.get(name) not in (None, False)]
        if asked:
            return f"{asked[0]} cannot be served from unpadded batches"
        mask = call.get("attention_mask")
        if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
            return "the attention mask is not one of (batch, length)"
        if call.get("return_dict") is False:
            return "return_dict=False"
        return None

    def _say(self, reason: str) -> None:
        if reason not in self.said:
            self.said.add(reason)
            logger.warning("This forward pass runs padded: %s.", reason)


def _mask(call: dict[str, Any]) -> Tensor:
    """(batch, length) attention mask of a call; without one, every position is a token."""
    if call.get("attention_mask") is not None:
        return call["attention_mask"]
    if call.get("input_ids") is not None:
        return call["input_ids"].new_ones(call["input_ids"].shape)
    return call["inputs_embeds"].new_ones(call["inputs_embeds"].shape[:2])


def _pack_hidden_states(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    layout: TokenLayout | None = kwargs.get("token_layout")
    if layout is None:
        return args, kwargs
    if args:
        return (layout.pack(args[0]), *args[1:]), kwargs
    return args, kwargs | {"hidden_states": layout.pack(kwargs["hidden_states"])}


def _pack_ids(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Pack what enters the embeddings; positions are counted before packing, as the model itself would count them."""
    layout: TokenLayout | None = kwargs.get("token_layout")
    if layout is None:
        return args, kwargs
    call = dict(kwargs)
    if call.get("position_ids") is None:
        call["position_ids"] = layout.sources[None] % layout.real.shape[1]
    else:
        call["position_ids"] = _pack_each(call["position_ids"].expand(layout.real.shape), layout)
    if call.get("input_ids") is not None:
        call["input_ids"] = _pack_each(call["input_ids"], layout)
    if call.get("inputs_embeds") is not None:
        call["inputs_embeds"] = layout.pack(call["inputs_embeds"])
    return args, call


def _pack_each(ids: Tensor, layout: TokenLayout) -> Tensor:
    return ids.reshape(-1).index_select(0, layout.sources)[None]  # (1, rows)


def _pad_last_hidden_state(_module: nn.Module, _args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
    layout: TokenLayout | None = kwargs.get("token_layout")
    if layout is not None:
        output.last_hidden_state = layout.pad_last(output.last_hidden_state)
    return output


def _pad_inner_hidden_states(_module: nn.Module, _args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
    """Pad the hidden states that were recorded between the doors; the last one has been through them already."""
    layout: TokenLayout | None = kwargs.get("token_layout")
    states = getattr(output, "hidden_states", None)
    if layout is not None and states is not None:
        last = output.last_hidden_state
        output.hidden_states = tuple(_pad_unless_padded(state, last, layout) for state in states)
    return output


def _pad_unless_padded(state: Tensor | None, padded: Tensor, layout: TokenLayout) -> Tensor | None:
    return state if state is None or state is padded else layout.pad(state)
