"""Masked-language-model corruption of whole batches: which positions are predicted, and what stands there instead.

Devlin et al. 2019 (BERT): 15 % of the positions are predicted; of those, 80 % show the mask, 10 % a random token, 10 %
what was there. With whole words, all subwords of a word are predicted or none; what each shows is still drawn subword by
subword. Special tokens are never predicted. Every draw is a function of the example's `draw` number and the position, so an
example is masked the same way in any batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from finetune.encoding.draws import Bits, as_fraction, below, draw_bits
from finetune.encoding.padding import IGNORED
from finetune.errors import DataError, Problem

MASK_SHARE = 0.8
RANDOM_SHARE = 0.1

Ids = npt.NDArray[np.int64]
Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True)
class Masker:
    """Masks batches of padded ids.

    Parameters
    ----------
    mask_id
        Id of the mask token.
    is_special
        For every id of the vocabulary whether it is never predicted and never a random replacement.
    probability
        Share of the other positions that are predicted.
    whole_words
        Predict all subwords of a word or none.
    """

    mask_id: int
    is_special: npt.NDArray[np.bool_]
    probability: float = 0.15
    whole_words: bool = False

    @classmethod
    def for_tokenizer(
        cls, tokenizer: PreTrainedTokenizerBase, *, probability: float = 0.15, whole_words: bool = False
    ) -> Masker:
        """The masker for this tokenizer's vocabulary and special tokens.

        Raises:
            DataError: the tokenizer has no mask token.
        """
        if tokenizer.mask_token_id is None:
            raise DataError(
                Problem(
                    f"the tokenizer {type(tokenizer).__name__} has no mask token",
                    "masked language modelling needs one",
                    "train a causal model with run_clm.py, or give a tokenizer with a mask_token",
                )
            )
        return cls(tokenizer.mask_token_id, find_special_ids(tokenizer), probability, whole_words)

    def mask(self, ids: Ids, draws: npt.ArrayLike, word_starts: npt.NDArray[np.bool_] | None = None) -> tuple[Ids, Ids]:
        """Inputs and labels (both (batch, length)) for ids (batch, length) and draws (batch,).

        `word_starts` (batch, length) says where words begin; it is needed for whole words. Padding must be a special id.
        """
        bits = draw_bits(draws, ids.shape[1])
        decisive = bits if word_starts is None or not self.whole_words else spread_over_words(bits, word_starts)
        is_predicted = (as_fraction(decisive) < self.probability) & ~self.is_special[ids]
        labels = np.where(is_predicted, ids, IGNORED)
        inputs = ids.copy()
        ordinary = np.flatnonzero(~self.is_special)
        inputs[is_predicted] = replace_ids(ids[is_predicted], bits[is_predicted], self.mask_id, ordinary)
        return inputs, labels


def replace_ids(ids: Ids, bits: Bits, mask_id: int, ordinary: npt.NDArray[np.integer]) -> Ids:
    """What predicted positions (n,) show: the mask, a random one of the `ordinary` ids, or what was there.

    `bits` (n,) may have decided that they are predicted: fresh ones are drawn from them.
    """
    fresh = draw_bits(bits, 2)
    kind = as_fraction(fresh[:, 0])
    random_ids = ordinary[below(fresh[:, 1], len(ordinary))]
    return np.where(kind < MASK_SHARE, mask_id, np.where(kind < MASK_SHARE + RANDOM_SHARE, random_ids, ids))


def spread_over_words(values: npt.NDArray[Value], word_starts: npt.NDArray[np.bool_]) -> npt.NDArray[Value]:
    """For each subword the value of the first subword of its word; (batch, length). A row begins with a word."""
    columns = np.arange(values.shape[1])
    firsts = np.maximum.accumulate(np.where(word_starts, columns, 0), axis=1)
    return np.take_along_axis(values, firsts, axis=1)


def labelled_positions(labels: Ids, *, round_to: int = 32) -> tuple[Ids, Ids]:
    """Positions (1, n) in the flattened batch of what is predicted in `labels` (batch, length), and the labels there.

    `n` is rounded up, with the first position and the label -100, as `models.sparse_mlm_head.select_labelled` does.
    """
    flat = labels.ravel()
    found = np.flatnonzero(flat != IGNORED)
    size = min(-(-max(len(found), 1) // round_to) * round_to, max(len(flat), 1))
    positions, selected = np.zeros(size, dtype=np.int64), np.full(size, IGNORED, dtype=np.int64)
    positions[: len(found)] = found
    selected[: len(found)] = flat[found]
    return positions[None], selected[None]


def find_special_ids(tokenizer: PreTrainedTokenizerBase) -> npt.NDArray[np.bool_]:
    """For every id whether the tokenizer counts it as special (its own judgement: a space token is text to some)."""
    ids = list(range(len(tokenizer)))
    flags = tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
    return np.array(flags, dtype=bool)
