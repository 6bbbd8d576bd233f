"""Texts of one split -> batches for a model, preprocessed once or anew for each batch; each row knows its text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from finetune.errors import Problem, UsageError
from finetune.lm_experiments.encoding import Row, encode_annotated, encode_windows, pad_rows
from finetune.lm_experiments.preprocessing import CONTEXT, Batch, call_preprocessing, identity
from finetune.lm_experiments.span_corruption import IGNORED, TokenRoles
from finetune.lm_experiments.texts import AnnotatedTexts

ROWS_AT_ONCE = 1024
COUNTS = "expanded_lengths"
OTHER_COUNTS = "expanded_length"  # the published program's name of it


@dataclass(frozen=True)
class Recipe:
    """How texts of a split become batches.

    `function` with `kwargs` is applied once to all of them, or `per_batch`. What it draws follows from `seed`, `split`,
    the epoch and the rows, so that a run that goes on draws what an undisturbed one would; `first` is the number of the
    first text where texts come subword by subword. `pad_to`: width of each batch. `windows`: long texts become several
    rows, in which every token is predicted once; without, they are cut.
    """

    tokenizer: Any
    task: str
    max_length: int = 1024
    function: Callable[..., Batch] = identity
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    per_batch: bool = False
    seed: int = 0
    split: int = 0
    first: int = 0
    pad_to: int | None = None
    windows: bool = False
    model: Any = None  # for functions that ask for it

    def prepare(self, rows: Sequence[Row], draw: Sequence[int]) -> tuple[Batch, npt.NDArray[np.int64]]:
        """The arrays (rows, length) that the function makes, with labels, and the place in `rows` each row comes from.

        Raises:
            UsageError: the function returns something else than a batch.
        """
        rng = np.random.default_rng([self.seed, self.split, self.first, *draw])
        padded = pad_rows(rows, self.tokenizer)
        made = call_preprocessing(self.function, padded, self.tokenizer, self.kwargs, rng=rng, model=self.model)
        made = {name: np.asarray(values) for name, values in made.items()} if isinstance(made, Mapping) else {}
        counts = made.pop(COUNTS, made.pop(OTHER_COUNTS, np.ones(len(rows), dtype=np.int64)))
        counts = counts.ravel()[counts.ravel() >= 0]
        self._require(made, counts, len(rows))
        if "attention_mask" not in made:
            made["attention_mask"] = (made["input_ids"] != TokenRoles.of(self.tokenizer).pad_id).astype(np.int64)
        return self._without_context(made, padded.get(CONTEXT)), np.repeat(np.arange(len(rows)), counts)

    def _without_context(self, made: Batch, context: npt.NDArray[np.integer] | None) -> Batch:
        """With labels, and none where a token is there to be read only; functions may have passed `context` over."""
        context = made.pop(CONTEXT, context)
        batch = identity(made, self.tokenizer)
        if context is not None and context.shape == batch["labels"].shape:
            batch["labels"] = np.where(context.astype(bool), IGNORED, batch["labels"])
        return batch

    def _require(self, made: Batch, counts: npt.NDArray[np.integer], rows: int) -> None:
        name = getattr(self.function, "__name__", "the preprocessing function")
        ids = made.get("input_ids")
        if ids is None or ids.ndim != 2:
            found = f"{name} returns {', '.join(made) or 'nothing'}"
            raise UsageError(Problem(found, "a dictionary with input_ids (rows, length) is needed"))
        if len(counts) != rows or counts.sum() != len(ids):
            found = f"{name} makes {len(ids)} rows of {rows}"
            remedy = f"return {COUNTS}, too: how many rows each text became"
            raise UsageError(Problem(found, f"its {COUNTS} say {int(counts.sum())} rows of {len(counts)}", remedy))

    def widen(self, batch: Batch) -> Batch:
        """The batch, padded to `pad_to` columns; labels of another width than the inputs stay as they are."""
        width = batch["input_ids"].shape[1]
        if self.pad_to is None or width >= self.pad_to:
            return batch
        fillers = {"input_ids": TokenRoles.of(self.tokenizer).pad_id, "labels": IGNORED}
        return {
            name: np.pad(array, ((0, 0), (0, self.pad_to - width)), constant_values=fillers.get(name, 0))
            if array.shape[1:] == (width,)
            else array
            for name, array in batch.items()
        }


@dataclass(frozen=True)
class TextBatch:
    """Arrays (rows, length) for a model, and the text of each row as a place in `TextBatches.texts`, (rows,)."""

    arrays: Batch
    places: npt.NDArray[np.int64]


class TextBatches:
    """The rows of a split. `texts[i]` is the text of row i of those that are there before preprocessing per batch.

    Raises:
        DataError, UsageError: labels or functions do not fit the texts.
    """

    def __init__(self, texts: AnnotatedTexts, recipe: Recipe) -> None:
        self.recipe = recipe
        around: dict[str, Any] = {"task": recipe.task, "max_length": recipe.max_length}
        if recipe.windows:
            rows, places, windows = encode_windows(texts.texts, texts.labels, recipe.tokenizer, **around)
            texts = replace(texts.take(places), windows=windows)
        else:
            rows = encode_annotated(texts.texts, texts.labels, recipe.tokenizer, **around)
        self.texts, self.rows = (texts, rows) if recipe.per_batch else self._prepare_all(texts, rows)

    def _prepare_all(self, texts: AnnotatedTexts, rows: list[Row]) -> tuple[AnnotatedTexts, list[Row]]:
        made: list[Row] = []
        sources: list[int] = []
        for start in range(0, len(rows), ROWS_AT_ONCE):
            batch, places = self.recipe.prepare(rows[start : start + ROWS_AT_ONCE], [start])
            made += _unpad(batch, self.recipe.task)
            sources += (places + start).tolist()
        return texts.take(sources), made

    def __len__(self) -> int:
        return len(self.rows)

    def make(self, chosen: Sequence[int], epoch: int = 0) -> TextBatch:
        """The batch of those rows in that epoch."""
        rows, places = [self.rows[number] for number in chosen], np.asarray(chosen, dtype=np.int64)
        if self.recipe.per_batch:
            arrays, sources = self.recipe.prepare(rows, [epoch, *map(int, chosen)])
            return TextBatch(self.recipe.widen(arrays), places[sources])
        return TextBatch(self.recipe.widen(_pad(rows, self.recipe.tokenizer)), places)

    def in_order(self, size: int, *, whole_texts: bool = False) -> Iterator[list[int]]:
        """The numbers of all rows, `size` at a time; with `whole_texts` as many more as the last text has windows."""
        start = 0
        while start < len(self):
            end = min(start + size, len(self))
            while whole_texts and end < len(self) and self._goes_on(end):
                end += 1
            yield list(range(start, end))
            start = end

    def _goes_on(self, row: int) -> bool:
        """Whether a row reads on in the text of the row before."""
        windows = self.texts.windows
        return windows is not None and windows[row].follows(windows[row - 1])


def _unpad(batch: Batch, task: str) -> list[Row]:
    """Rows of a padded batch. What is as wide as the inputs is cut as they are, but the labels of an encoder-decoder."""
    attended = batch["attention_mask"].astype(bool)
    aligned = [
        name for name, array in batch.items() if array.shape == attended.shape and (name, task) != ("labels", "seq2seq")
    ]
    return [
        {
            name: (array[number][attended[number]] if name in aligned else _strip(array[number])).tolist()
            for name, array in batch.items()
        }
        for number in range(len(attended))
    ]


def _strip(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Without the padding behind them."""
    real = np.flatnonzero(labels != IGNORED)
    return labels[: real[-1] + 1] if len(real) else labels[:0]


def _pad(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> Batch:
    """As `pad_rows`, with whatever else a preprocessing function made (padded with 0)."""
    batch = pad_rows(rows, tokenizer)
    for name in set(rows[0]) - set(batch) if rows else ():
        width = max(len(row[name]) for row in rows)
        batch[name] = np.array([row[name] + [0] * (width - len(row[name])) for row in rows], dtype=np.int64)
    return batch
