"""What language modelling adds to the Trainer: the shifted loss, perplexity, text that is tokenized while training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import IterableDataset, get_worker_info
from transformers import EvalPrediction

from finetune.encoding.padding import IGNORED
from finetune.training.losses import TokenLoss

SHUFFLED_EXAMPLES = 4096  # of a stream, drawn from at random


class MaskedLoss(TokenLoss):
    """Cross-entropy at predicted positions.

    `gathered`: logits are only of the positions that a sparse head has gathered, while labels are of all positions.
    """

    def __init__(self, label_smoothing: float = 0.0, *, gathered: bool = False) -> None:
        super().__init__(None, label_smoothing)
        self.gathered = gathered

    def select(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The labels of the positions that the logits are of; -100 for those that fill up (`select_labelled`)."""
        if not self.gathered:
            return labels
        found = labels[labels != IGNORED]
        return functional.pad(found, (0, logits.shape[1] - len(found)), value=IGNORED)[None]

    def per_position(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Float32 losses (batch, length), or (1, positions) of gathered ones."""
        return super().per_position(logits, self.select(logits, labels))


class NextTokenLoss(TokenLoss):
    """Cross-entropy of each token given those before it; `labels` are the ids, -100 where nothing is predicted."""

    def per_position(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Float32 losses (batch, length - 1)."""
        return super().per_position(logits[:, :-1], labels[:, 1:])

    def __call__(
        self, outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """One micro-batch's share of the global mean; the first position of a row is never predicted."""
        items = (labels[:, 1:] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        return super().__call__(outputs, labels, items)


class LanguageEvaluation:
    """The Trainer's `preprocess_logits_for_metrics`: what perplexity and accuracy need, instead of logits.

    One row for each of the batch: several processes fill up the last batch with rows that were there before, and the
    Trainer drops as many of what they gather.
    """

    def __init__(self, loss: MaskedLoss | NextTokenLoss) -> None:
        self.loss = loss

    def __call__(self, logits: Any, labels: torch.Tensor) -> torch.Tensor:
        """Logits of a batch -> (batch, 3): sum of losses, number of predictions, how many are right."""
        logits = logits[0] if isinstance(logits, tuple) else logits
        if isinstance(self.loss, NextTokenLoss):
            predicted, expected = logits[:, :-1].argmax(-1), labels[:, 1:]
        else:
            predicted, expected = logits.argmax(-1), self.loss.select(logits, labels)
        counted = expected != IGNORED
        sums = [self.loss.per_position(logits, labels), counted, (predicted == expected) & counted]
        values = torch.stack([part.double() for part in sums], dim=-1)
        if not getattr(self.loss, "gathered", False):
            return values.sum(1)
        rows = (labels != IGNORED).nonzero()[:, 0]
        return values.new_zeros(len(labels), values.shape[-1]).index_add_(0, rows, values[0, : len(rows)])


def score_language(prediction: EvalPrediction) -> dict[str, float]:
    """Loss and accuracy over all predicted positions of a split, and perplexity, the exponential of the loss."""
    losses, count, right = np.asarray(prediction.predictions, dtype=np.float64).reshape(-1, 3).sum(axis=0)
    loss = float(losses / max(count, 1))
    return {"loss": loss, "perplexity": perplexity(loss), "accuracy": float(right / max(count, 1))}


def perplexity(loss: float) -> float:
    """exp(loss), infinite where that is beyond floating-point numbers."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


class StreamedExamples(IterableDataset):
    """Examples that `read` makes while training, shuffled within a window; each has its `draw` for the masks.

    The stream is endless: when the text is read through, `read` is called with the next epoch. The Trainer, which cannot
    know where an epoch of a stream ends, counts one epoch only, and finds its place in it again after an interruption.
    Several data loader workers share out the batches, so that these are the same whatever the number of workers; each
    reads the text whole. `batch` is how many examples the loader, and the other processes, take from a worker at a time.
    """

    def __init__(
        self, read: Callable[[int], Iterator[dict[str, Any]]], *, seed: int, window: int = SHUFFLED_EXAMPLES
    ) -> None:
        self.read, self.seed, self.window = read, seed, window
        self.batch = 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        for index, example in enumerate(self.read_epochs()):
            if index // self.batch % count == number:
                yield example

    def read_epochs(self) -> Iterator[dict[str, Any]]:
        for epoch in itertools.count():
            shuffled = shuffle_window(self.read(epoch), self.window, np.random.default_rng((self.seed, epoch, 0)))
            first = next(shuffled, None)
            if first is None:  # no text, in no epoch
                return
            yield first
            yield from shuffled


def shuffle_window(
    examples: Iterator[dict[str, Any]], window: int, generator: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Examples in random order, as far as `window` of them held back allow."""
    held: list[dict[str, Any]] = []
    for example in examples:
        if len(held) < window:
            held.append(example)
            continue
        place = int(generator.integers(window))
        yield held[place]
        held[place] = example
    generator.shuffle(held)  # type: ignore[arg-type]
    yield from held
