"""Rows of ids -> batches of like length, and the arrays of a batch, in numpy alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from finetune.encoding.padding import IGNORED, pad_rows, padded_width, real_positions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENS_AT_ONCE = 2048  # of short rows in a batch: `batch_size` of them would be little work at a time


def group_by_length(
    lengths: Sequence[int], *, batch_size: int, tokens: int, one_length: bool = False
) -> Iterator[list[int]]:
    """Indices of rows, longest first, in batches of `batch_size` rows or as many as `tokens` hold, whichever are more.

    one_length: rows of different lengths share no batch, so that none is padded.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    start = 0
    while start < len(order):
        longest = lengths[order[start]]
        batch = order[start : start + max(batch_size, tokens // max(1, longest))]
        if one_length:
            batch = [index for index in batch if lengths[index] == longest]
        yield batch
        start += len(batch)


@dataclass(frozen=True)
class RowPadder:
    """Pads rows to the longest of a batch, as a tokenizer would.

    Parameters
    ----------
    pad_token_id, pad_token_type_id
        What `input_ids` and `token_type_ids` are padded with; labels are padded with -100.
    pad_to_multiple_of
        Widths are rounded up to a multiple of this.
    padding_side
        "right" or "left", as the tokenizer has it.
    model_input_names
        What the model takes; `attention_mask` is made if it is among them, columns of the rows are handed on if they are.
    max_length
        Pad every batch to this width (or to its longest row, if that is longer), not only as far as it needs.
    """

    pad_token_id: int
    pad_to_multiple_of: int | None = None
    padding_side: str = "right"
    model_input_names: Sequence[str] = ("input_ids", "attention_mask")
    max_length: int | None = None
    pad_token_type_id: int = 0

    @classmethod
    def for_tokenizer(cls, tokenizer: PreTrainedTokenizerBase, *, max_length: int | None = None) -> Self:
        """What pads as this tokenizer would."""
        return cls(
            pad_token_id=0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
            padding_side=tokenizer.padding_side,
            model_input_names=tuple(tokenizer.model_input_names),
            max_length=max_length,
            pad_token_type_id=tokenizer.pad_token_type_id,
        )

    def pad(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, npt.NDArray[np.int64]]:
        """Arrays (batch, width) of `input_ids`, `attention_mask`, `token_type_ids`, `labels`: those that are there."""
        lengths = np.array([len(row["input_ids"]) for row in rows])
        width = padded_width(int(lengths.max()), self.max_length, self.pad_to_multiple_of)
        is_real = real_positions(lengths, width, self.padding_side)
        padding = {"input_ids": self.pad_token_id, "token_type_ids": self.pad_token_type_id, "labels": IGNORED}
        wanted = {*self.model_input_names, "labels"}
        batch = {
            name: pad_rows([row[name] for row in rows], is_real, value)
            for name, value in padding.items()
            if name in wanted and name in rows[0]
        }
        if "attention_mask" in wanted:
            batch["attention_mask"] = is_real.astype(np.int64)
        return batch
