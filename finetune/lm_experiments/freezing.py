"""Callbacks that freeze parts of a model, to single rows of a matrix, by what `models/freezing.py` knows of names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from finetune.errors import Problem, UsageError
from finetune.lm_experiments.preprocessing import find_word_tokens
from finetune.models.freezing import FrozenEntries, Masks, find_entries, invert


class FrozenModelCallback(FrozenEntries):
    """Keeps entries of a model as they are. Called with (epoch, batch) after `backward`, before the optimizer's step."""

    def __call__(self, epoch: int, batch: object) -> None:
        """Set the gradients of frozen entries to zero."""
        del epoch, batch
        self.zero_gradients()


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
