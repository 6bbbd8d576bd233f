"""Rows of texts and labels -> rows of ids that a classifier of whole texts takes.

Encoded columns, one row per window: `input_ids`, `token_type_ids` if the tokenizer has them, `labels`, `example` (row of
the split), `length` (subwords with special tokens).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset
from datasets.table import InMemoryTable
from transformers import PreTrainedTokenizerBase

from finetune.classification.column_choice import ProblemType
from finetune.classification.row_targets import encode_targets
from finetune.classification.text_rows import Ints, encode_label_values, encode_texts
from finetune.classification.truncation import LongText
from finetune.encoding.padding import IGNORED
from finetune.encoding.subwords import SubwordEncoder


@dataclass
class EncodedClassification:
    """An encoded split of `number` texts.

    `examples` (rows,) says which text each row of `dataset` belongs to; `labels` are those of the texts: ids (texts,),
    0/1 decisions (texts, labels), or values (texts,); -100 where there are none.
    """

    dataset: Dataset
    examples: Ints
    labels: npt.NDArray
    number: int
    counts: dict[str, int]


def encode_classification(
    split: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    labels: Sequence[str],
    problem_type: ProblemType,
    *,
    max_length: int,
    long_text: LongText = LongText.TRUNCATE,
    stride: int = 0,
    by_length: bool = False,
    encoder: SubwordEncoder | None = None,
    name: str = "split",
) -> EncodedClassification:
    """Encode a split with columns `text`, perhaps `text_pair`, and, where it is labelled, `label`.

    `max_length` is the longest row in subwords, special tokens counted. `long_text` and `stride` say what happens to
    longer texts, which is always reported under `name`. `by_length` puts long rows first, so that batches of a
    prediction need little padding. `encoder` is a `SubwordEncoder` of the same tokenizer to go on with.

    Raises:
        UsageError: `max_length` leaves no room for a subword, or `stride` is not shorter than a window.
    """
    encoded = encode_texts(
        split["text"][:],
        split["text_pair"][:] if "text_pair" in split.column_names else None,
        tokenizer,
        encoder or SubwordEncoder(tokenizer),
        max_length=max_length,
        long_text=long_text,
        stride=stride,
        by_length=by_length,
        name=name,
    )
    ids = encode_labels(split, labels, problem_type)
    targets = encode_targets(split, ids, labels, problem_type, encoded.examples) if name == "train" else None
    dataset = _dataset(encoded.columns, ids if targets is None else targets, encoded.examples)
    return EncodedClassification(dataset, encoded.examples, ids, len(split), encoded.counts)


def encode_labels(split: Dataset, labels: Sequence[str], problem_type: ProblemType) -> npt.NDArray:
    """As `encode_label_values`, of the column `label`; -100 where there is none."""
    if "label" not in split.column_names:
        shape = (len(split), len(labels)) if problem_type is ProblemType.MULTI else (len(split),)
        return np.full(shape, IGNORED, dtype=np.int64 if problem_type is ProblemType.SINGLE else np.float32)
    return encode_label_values(split["label"][:], labels, problem_type)


def _dataset(columns: dict[str, tuple[npt.NDArray[np.int32], Ints]], labels: npt.NDArray, examples: Ints) -> Dataset:
    arrays: dict[str, pa.Array] = {
        name: pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))
        for name, (values, offsets) in columns.items()
    }
    chosen = labels[examples]
    flat = pa.array(chosen.reshape(-1))
    arrays["labels"] = flat if chosen.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, chosen.shape[1])
    arrays["example"] = pa.array(examples.astype(np.int32))
    arrays["length"] = pa.array(np.diff(columns["input_ids"][1]).astype(np.int32))
    return Dataset(InMemoryTable(pa.table(arrays)))
