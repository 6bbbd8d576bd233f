"""A masked language model on its way to a program: its rows, and how often it finds the token behind a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.arguments.model import ModelArguments
from finetune.encoding.batches import RowPadder
from finetune.errors import DataError, Problem
from finetune.exporting.comparing import Logits
from finetune.models.checks import resolve_max_length
from finetune.models.loading import load_config, load_model
from finetune.models.prediction import TorchNetwork
from finetune.tokenization.loading import load_tokenizer
from finetune.training.collators import TaggingCollator

METRIC = "masked_accuracy"
MASKED_SHARE = 0.15  # as BERT was trained
SEED = 0


@dataclass(frozen=True)
class MaskedModel:
    """The model, with rows of its own kind."""

    network: TorchNetwork
    tokenizer: PreTrainedTokenizerBase
    longest: int

    @property
    def model(self) -> PreTrainedModel:
        return self.network.model

    @property
    def padder(self) -> RowPadder:
        return RowPadder.for_tokenizer(self.tokenizer)


@dataclass(frozen=True)
class MaskedRows:
    """Rows of ids, masked places among them, (rows,) each, and the ids that stood there."""

    rows: list[dict[str, Any]]
    places: list[npt.NDArray[np.int64]]
    answers: list[npt.NDArray[np.int64]]

    def score(self, logits: Logits) -> float:
        """The share of masked tokens that are found."""
        pairs = zip(logits, self.places, self.answers, strict=True)
        right = np.concatenate([row[place].argmax(-1) == answer for row, place, answer in pairs])
        return float(right.mean())


def open_masked(asked: ModelArguments) -> MaskedModel:
    """The model of a folder, in float32; an adapter is merged into its base.

    Raises:
        DataError: as `load_model`.
    """
    config, tokenizer = load_config(asked), load_tokenizer(asked)
    model = load_model(asked, config, tokenizer, task="masked_lm", new_head=False).eval()
    collate = TaggingCollator.for_tokenizer(tokenizer)
    network = TorchNetwork(model, collate, tokenizer.padding_side)
    return MaskedModel(network, tokenizer, resolve_max_length(None, config, tokenizer))


def mask_rows(masked: MaskedModel, lines: Sequence[str]) -> MaskedRows:
    """Lines as rows with 15 % of their tokens masked, at least one each where there is one; drawn from a fixed seed.

    Raises:
        DataError: the tokenizer has no mask, or the lines hold no token.
    """
    tokenizer = masked.tokenizer
    if tokenizer.mask_token_id is None:
        raise DataError(Problem("the tokenizer has no mask token", remedy="give that of a masked language model"))
    encoded = tokenizer(list(lines), truncation=True, max_length=masked.longest, return_special_tokens_mask=True)
    drawn = np.random.default_rng(SEED)
    rows, places, answers = [], [], []
    for index, (ids, special) in enumerate(zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)):
        free = np.flatnonzero(np.array(special) == 0)
        chosen = np.sort(drawn.permutation(free)[: max(1, round(MASKED_SHARE * len(free)))])
        masked_ids = np.array(ids)
        answers.append(masked_ids[chosen].copy())
        masked_ids[chosen] = tokenizer.mask_token_id
        types = {"token_type_ids": encoded["token_type_ids"][index]} if "token_type_ids" in encoded else {}
        rows.append({"input_ids": masked_ids, **types})
        places.append(chosen)
    if not any(len(place) for place in places):
        raise DataError(Problem("the texts hold no token to mask", remedy="give others with --input_file"))
    return MaskedRows(rows, places, answers)
