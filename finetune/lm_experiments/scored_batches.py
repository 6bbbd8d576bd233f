"""Batches that a model is trained or tested on -> which of their tokens are scored, and which logits tell."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune.encoding.padding import IGNORED
from finetune.encoding.ragged import offsets_of
from finetune.lm_experiments.preprocessing import Batch
from finetune.surprisal.rows import NO_TARGET

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class BatchTokens:
    """The tokens of a batch's rows as they truly are, flat, and the queries that score them.

    Query q looks at row `places[q] // width`, column `places[q] % width` of the logits, scores `targets[q]` (NO_TARGET:
    only whether a word ends) and answers slot `slots[q]`: a token, or past them the end of a row.
    """

    ids: IntArray  # (tokens,)
    offsets: IntArray  # (rows + 1,)
    shown: npt.NDArray[np.bool_]  # (tokens,) that get rows in tables
    places: IntArray  # (queries,)
    targets: IntArray  # (queries,)
    slots: IntArray  # (queries,)

    @property
    def slot_count(self) -> int:
        return len(self.ids) + len(self.offsets) - 1


def read_batch_tokens(
    batch: Batch,
    task: str,
    *,
    mask_id: int | None = None,
    special_ids: Collection[int] = (),
    silent_ids: Collection[int] = (),
    start_ids: Sequence[int] = (),
) -> BatchTokens:
    """The scored tokens of a batch, by kind of model.

    `lm`: each token from those before it, without the `start_ids` that stand for the beginning of the text; without them
    the first is a token that nothing scores. `mlm`: masks whose label is known, each as what it hides; special tokens at
    other places are left out. `seq2seq`: the labels, without `silent_ids`: tokens that name the beginning or the language.
    """
    if task == "lm":
        return _read_causal(batch, start_ids)
    if task == "mlm":
        return _read_masked(batch, mask_id, special_ids)
    return _read_labels(batch["labels"], silent_ids)


def _read_causal(batch: Batch, start_ids: Sequence[int]) -> BatchTokens:
    real, labels = batch["attention_mask"].astype(bool), batch["labels"]
    width, numbers = real.shape[1], np.arange(len(real))
    follows = real.copy()
    follows[numbers, real.argmax(1)] = False  # the first token of a row follows nothing
    listed, first = real.copy(), real.argmax(1)
    for number, start_id in enumerate(start_ids):
        column = np.minimum(first + number, width - 1)
        is_start = (number == 0) | (batch["input_ids"][numbers, column] == start_id)
        listed[numbers[is_start], column[is_start]] = False
    rows, columns = np.nonzero(listed)
    scored = follows[rows, columns]
    shown = labels[rows, columns] != IGNORED
    last = np.where(real.any(1), width - 1 - real[:, ::-1].argmax(1), 0)
    ids = np.where(shown, labels[rows, columns], batch["input_ids"][rows, columns])
    return BatchTokens(
        ids,
        offsets_of(listed.sum(1)),
        shown,
        places=np.concatenate([(rows * width + columns - 1)[scored], numbers * width + last]),
        targets=np.concatenate([np.where(shown, ids, NO_TARGET)[scored], np.full(len(real), NO_TARGET)]),
        slots=np.concatenate([np.flatnonzero(scored), len(ids) + numbers]),
    )


def _read_masked(batch: Batch, mask_id: int | None, special_ids: Collection[int]) -> BatchTokens:
    inputs, labels = batch["input_ids"], batch["labels"]
    masked = inputs == (-1 if mask_id is None else mask_id)
    special = np.isin(inputs, list(special_ids))
    listed = batch["attention_mask"].astype(bool) & (masked | ~special)
    rows, columns = np.nonzero(listed)
    ids = np.where(labels[rows, columns] != IGNORED, labels[rows, columns], inputs[rows, columns])
    shown = (masked & (labels != IGNORED))[rows, columns]
    asked = np.flatnonzero(shown)
    places = (rows * inputs.shape[1] + columns)[asked]
    return BatchTokens(ids, offsets_of(listed.sum(1)), shown, places, ids[asked], asked)


def _read_labels(labels: npt.NDArray[np.integer], silent_ids: Collection[int]) -> BatchTokens:
    scored = (labels != IGNORED) & ~np.isin(labels, list(silent_ids))
    rows, columns = np.nonzero(scored)
    ids = labels[rows, columns].astype(np.int64)
    lengths = scored.sum(1)
    places = rows * labels.shape[1] + columns
    return BatchTokens(
        ids, offsets_of(lengths), np.ones(len(ids), dtype=bool), places, ids, np.arange(len(ids), dtype=np.int64)
    )
