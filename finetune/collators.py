"""Features -> tensors: rows of unequal length padded into one batch.

A collator gives the model's inputs and the labels, nothing else: columns that only we read (`word_positions`, `sentence`)
stay in the data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from finetune.encoding.blocks import DOCUMENT_START, WORD_START
from finetune.encoding.masking import Masker, labelled_positions
from finetune.encoding.weighted_masking import WeightedMasker

IGNORED = -100  # what torch's cross entropy skips


@dataclass(frozen=True)
class TaggingCollator:
    """Pads rows of a token classifier to the longest of the batch.

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
    def for_tokenizer(cls, tokenizer: Any, *, max_length: int | None = None) -> Self:
        """A collator that pads as this tokenizer would."""
        return cls(
            pad_token_id=0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
            padding_side=tokenizer.padding_side,
            model_input_names=tuple(tokenizer.model_input_names),
            max_length=max_length,
            pad_token_type_id=tokenizer.pad_token_type_id,
        )

    def __call__(self, features: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, torch.Tensor]:
        """Tensors (batch, width), dtype int64, of `input_ids`, `attention_mask`, `token_type_ids`, `labels`."""
        lengths = np.array([len(row["input_ids"]) for row in features])
        width = padded_width(int(lengths.max()), self.max_length, self.pad_to_multiple_of)
        is_real = real_positions(lengths, width, self.padding_side)
        padding = {"input_ids": self.pad_token_id, "token_type_ids": self.pad_token_type_id, "labels": IGNORED}
        wanted = {*self.model_input_names, "labels"}
        batch = {
            name: torch.from_numpy(pad_rows([row[name] for row in features], is_real, value))
            for name, value in padding.items()
            if name in wanted and name in features[0]
        }
        if "attention_mask" in wanted:
            batch["attention_mask"] = torch.from_numpy(is_real.astype(np.int64))
        return batch


@dataclass(frozen=True)
class ClassificationCollator(TaggingCollator):
    """Pads rows of a classifier of whole texts; labels are one number, or several decisions, per row."""

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """As a tagger's batch, but `labels` (batch,) of int64 ids or float32 values, or float32 (batch, labels)."""
        inputs = [{name: value for name, value in row.items() if name != "labels"} for row in features]
        batch = super().__call__(inputs)
        if "labels" in features[0]:
            labels = np.array([row["labels"] for row in features])
            batch["labels"] = torch.from_numpy(labels.astype(np.int64 if labels.dtype.kind == "i" else np.float32))
        return batch


def padded_width(longest: int, max_length: int | None, multiple: int | None) -> int:
    """The width of a batch: its longest row, `max_length` if that is asked for, rounded up to `multiple`."""
    multiple = multiple or 1
    return -(-max(longest, max_length or 0) // multiple) * multiple


def real_positions(lengths: npt.NDArray[np.integer], width: int, padding_side: str = "right") -> npt.NDArray[np.bool_]:
    """Where a padded batch holds real values: (batch, width), from the row lengths (batch,)."""
    columns = np.arange(width)
    if padding_side == "left":
        return columns >= (width - lengths)[:, None]
    return columns < lengths[:, None]


def pad_rows(rows: Sequence[Sequence[int]], is_real: npt.NDArray[np.bool_], value: int) -> npt.NDArray[np.int64]:
    """Rows of numbers as one array (batch, width) that is `value` where nothing real stands."""
    padded = np.full(is_real.shape, value, dtype=np.int64)
    padded[is_real] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    return padded


@dataclass(frozen=True)
class MaskingCollator:
    """Pads examples of a token store and masks the whole batch at once, anew in every epoch.

    Parameters
    ----------
    masker
        Decides what is predicted, by each example's `draw`.
    pad_token_id, pad_to_multiple_of, padding_side, max_length
        As for `TaggingCollator`; the padding token must be special to the masker.
    sparse
        For a sparse head: also give `labelled_positions` (1, n) of the flattened batch, with "selected" also the labels
        of those positions only (1, n), which no accelerator has to wait for, but which cannot be cut up by rows.
    """

    masker: Masker
    pad_token_id: int
    pad_to_multiple_of: int | None = None
    padding_side: str = "right"
    max_length: int | None = None
    sparse: Literal["", "selected", "positions"] = ""

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Tensors (batch, width), dtype int64: `input_ids`, `attention_mask`, `labels` (-100 where nothing is predicted)."""
        lengths = np.array([len(row["input_ids"]) for row in features])
        width = padded_width(int(lengths.max()), self.max_length, self.pad_to_multiple_of)
        is_real = real_positions(lengths, width, self.padding_side)
        ids = pad_rows([row["input_ids"] for row in features], is_real, self.pad_token_id)
        starts = None
        if self.masker.whole_words:
            starts = pad_rows([row["flags"] for row in features], is_real, WORD_START) & WORD_START > 0
        inputs, labels = self.masker.mask(ids, [row["draw"] for row in features], starts)
        batch = {"input_ids": inputs, "attention_mask": is_real.astype(np.int64), "labels": labels}
        if self.sparse:
            batch["labelled_positions"], selected = labelled_positions(labels)
            batch["labels"] = selected if self.sparse == "selected" else labels
        return {name: torch.from_numpy(values) for name, values in batch.items()}


@dataclass(frozen=True)
class PretrainingCollator:
    """Pads pregenerated BERT instances.

    Parameters
    ----------
    pad_token_id
        What `input_ids` are padded with, on the right.
    has_segments
        Whether the model takes token types of two segments.
    sparse
        Also give `labelled_positions` (1, n) of the flattened batch, for a sparse head.
    """

    pad_token_id: int
    has_segments: bool = True
    sparse: bool = False

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Tensors (batch, width), dtype int64; `labels` (batch, 1 + width) has the next-sentence label in column 0."""
        lengths = np.array([len(row["input_ids"]) for row in features])
        is_real = real_positions(lengths, int(lengths.max()))
        pieces = pad_rows([row["labels"] for row in features], is_real, IGNORED)
        next_sentence = np.array([[row["next_sentence_label"]] for row in features], dtype=np.int64)
        batch = {
            "input_ids": pad_rows([row["input_ids"] for row in features], is_real, self.pad_token_id),
            "attention_mask": is_real.astype(np.int64),
            "labels": np.concatenate([next_sentence, pieces], axis=1),
        }
        if self.has_segments:
            batch["token_type_ids"] = pad_rows([row["token_type_ids"] for row in features], is_real, 0)
        if self.sparse:
            batch["labelled_positions"], _ = labelled_positions(pieces)
        return {name: torch.from_numpy(values) for name, values in batch.items()}


@dataclass(frozen=True)
class CausalCollator:
    """Pads examples of a token store for a causal model; `labels` are the ids, the model's loss shifts them.

    Parameters
    ----------
    pad_token_id, pad_to_multiple_of
        As for `TaggingCollator`; padding is on the right.
    apart
        Tell documents apart by positions that start anew with each (transformers keeps attention within such runs when
        there is no attention mask). The first token of a document is not predicted then.
    """

    pad_token_id: int
    pad_to_multiple_of: int | None = None
    apart: bool = False

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Tensors (batch, width), dtype int64: `input_ids`, `labels`, `attention_mask` or `position_ids`."""
        lengths = np.array([len(row["input_ids"]) for row in features])
        is_real = real_positions(lengths, padded_width(int(lengths.max()), None, self.pad_to_multiple_of))
        rows = [row["input_ids"] for row in features]
        batch = {
            "input_ids": pad_rows(rows, is_real, self.pad_token_id),
            "labels": pad_rows(rows, is_real, IGNORED),
        }
        if self.apart:
            starts = pad_rows([row["flags"] for row in features], is_real, DOCUMENT_START) & DOCUMENT_START > 0
            batch["labels"][starts] = IGNORED
            batch["position_ids"] = positions_within(starts)
        else:
            batch["attention_mask"] = is_real.astype(np.int64)
        return {name: torch.from_numpy(values) for name, values in batch.items()}


def positions_within(starts: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Positions (batch, width) counted from the last start at or before each place.

    >>> positions_within(np.array([[False, False, True, False]]))
    array([[0, 1, 0, 1]])
    """
    columns = np.arange(starts.shape[1])
    return columns - np.maximum.accumulate(np.where(starts, columns, 0), axis=1)


@dataclass(frozen=True)
class TaughtTaggingCollator(TaggingCollator):
    """A tagger's batch for student and teacher, with what of the teacher was kept."""

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """As a tagger's, and `decides` (batch, width): 1 at the piece of each word that its tag is read from."""
        batch = super().__call__(features)
        width = batch["input_ids"].shape[1]
        is_real = real_positions(np.array([len(row["input_ids"]) for row in features]), width, self.padding_side)
        places = pad_rows([row["word_positions"] for row in features], is_real, IGNORED)
        return {**batch, "decides": torch.from_numpy((places != IGNORED).astype(np.int64)), **stack_taught(features)}


@dataclass(frozen=True)
class TaughtClassificationCollator(ClassificationCollator):
    """A classifier's batch for student and teacher, with what of the teacher was kept."""

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """As a classifier's, and `decides`, ones in the shape of `labels`: every text is decided, labelled or not."""
        batch = super().__call__(features)
        decides = torch.ones_like(batch["labels"], dtype=torch.int64)
        return {**batch, "decides": decides, **stack_taught(features)}


def stack_taught(features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """`taught_ids` (1, n, K) and `taught_values` (1, n, K + 1) of all rows; nothing where a live teacher teaches."""
    if "taught_ids" not in features[0]:
        return {}
    ids = np.concatenate([row["taught_ids"] for row in features])[None].astype(np.int64)
    values = np.concatenate([row["taught_values"] for row in features])[None].astype(np.float32)
    return {"taught_ids": torch.from_numpy(ids), "taught_values": torch.from_numpy(values)}


@dataclass(frozen=True)
class DistillationCollator:
    """Pads examples for a student and its teacher, and says at which positions logits are needed.

    Parameters
    ----------
    pad_token_id
        What `input_ids` are padded with, on the right.
    masker
        Masks the input and gives the labels; without one each label is the next id.
    labelled_only
        Logits are needed where a label is; otherwise at every real position.
    """

    pad_token_id: int
    masker: WeightedMasker | None = None
    labelled_only: bool = False

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """`input_ids`, `attention_mask` (batch, width); `positions` of the flattened batch, `counted`, `labels` (1, n).

        `counted` is 0 at the filler that rounds n up; `labels` are -100 where nothing is predicted. What of the teacher
        was kept is handed on, in the order of counted positions.
        """
        lengths = np.array([len(row["input_ids"]) for row in features])
        is_real = real_positions(lengths, int(lengths.max()))
        ids = pad_rows([row["input_ids"] for row in features], is_real, self.pad_token_id)
        if self.masker is None:
            inputs, labels = ids, next_ids(ids, is_real)
        else:
            inputs, labels = self.masker.mask(ids, [row["draw"] for row in features], lengths)
        needed = labels if self.labelled_only else np.where(is_real, 0, IGNORED)
        positions, counted = labelled_positions(needed)
        is_counted = counted != IGNORED
        batch = {
            "input_ids": inputs,
            "attention_mask": is_real.astype(np.int64),
            "positions": positions,
            "counted": is_counted.astype(np.int64),
            "labels": np.where(is_counted, labels.ravel()[positions], IGNORED),
        }
        return {name: torch.from_numpy(values) for name, values in batch.items()} | stack_taught(features)


def next_ids(ids: npt.NDArray[np.int64], is_real: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The id after each position, (batch, width); -100 where none follows."""
    following = np.full_like(ids, IGNORED)
    following[:, :-1] = np.where(is_real[:, 1:], ids[:, 1:], IGNORED)
    return following
