"""Batches by length: drawn at random, yet filled by a token budget, or grouped by length within a shuffled window.

Every process computes the same batches from the seed and the epoch and takes its share, so no worker count and no
communication matters. Resuming in the middle of an epoch draws the same batches again (`EpochFollower`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import BatchRebalanceSampler

from finetune.training.trainer import FinetuneTrainer

_SCOUTED_EPOCHS = 4
_ATTEMPTS = 1000


class LengthBatchSampler(BatchRebalanceSampler):
    """Yields the batches (lists of indices) of one process.

    A `BatchRebalanceSampler` by type alone: the Trainer hands such a sampler to its data loader as a batch sampler, and
    knows that it has shared out the batches among the processes already.

    Args:
        lengths: tokens of every sentence, special ones included.
        batch_size: sentences per batch; ignored where there is a budget.
        max_tokens: budget of a batch in tokens, or None. A single sentence beyond it makes a batch of its own.
        padded: tokens of a batch are counted as sentences times longest (True), or summed (False: unpadded encoder).
        window: batches' worth of sentences that are sorted by length together, after shuffling; 0 for no sorting.
        seed, processes, rank: the same seed on all processes.

    All epochs have the same number of batches, a multiple of `processes`: where an epoch's draw needs fewer, its largest
    batches are halved. Where every batch is a single sentence already, a few are used twice to even out the processes.
    """

    def __init__(
        self,
        lengths: Sequence[int] | np.ndarray,
        *,
        batch_size: int = 8,
        max_tokens: int | None = None,
        padded: bool = False,
        window: int = 0,
        seed: int = 42,
        processes: int = 1,
        rank: int = 0,
    ) -> None:
        if len(lengths) == 0 or batch_size < 1 or (max_tokens is not None and max_tokens < 1):
            raise ValueError("LengthBatchSampler needs sentences, and room for at least one of them in a batch")
        self.tokens = np.asarray(lengths, dtype=np.int64)
        self.batch_size, self.max_tokens, self.padded, self.window = batch_size, max_tokens, padded, window
        self.seed, self.processes, self.rank = seed, processes, rank
        self.epoch = 0
        counts = [len(self._draw(epoch, attempt=0)) for epoch in range(_SCOUTED_EPOCHS)]
        self.batches_per_epoch = -(-max(counts) // processes) * processes

    @property
    def over_budget(self) -> int:
        """Number of sentences that are longer than the budget by themselves."""
        return 0 if self.max_tokens is None else int(np.count_nonzero(self.tokens > self.max_tokens))

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches_per_epoch // self.processes

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.draw_all()[self.rank :: self.processes]

    def draw_all(self) -> list[list[int]]:
        """The batches of this epoch on all processes; each `processes` in a row are one step."""
        for attempt in range(_ATTEMPTS):
            batches = self._draw(self.epoch, attempt)
            if len(batches) <= self.batches_per_epoch:
                return self._shuffle_steps(split_to(batches, self.batches_per_epoch), attempt)
        raise RuntimeError(f"no draw of epoch {self.epoch} fits into {self.batches_per_epoch} batches")

    def _draw(self, epoch: int, attempt: int) -> list[list[int]]:
        order = np.random.default_rng((self.seed, epoch, attempt)).permutation(len(self.tokens))
        if self.window > 0:
            order = self._sort_windows(order)
        if self.max_tokens is None:
            return [part.tolist() for part in np.split(order, range(self.batch_size, len(order), self.batch_size))]
        return fill(order.tolist(), self.tokens, self.max_tokens, padded=self.padded)

    def _sort_windows(self, order: np.ndarray) -> np.ndarray:
        size = self.window * self._sentences_per_batch()
        windows = np.split(order, range(size, len(order), size))
        return np.concatenate([part[np.argsort(-self.tokens[part], kind="stable")] for part in windows])

    def _sentences_per_batch(self) -> int:
        if self.max_tokens is None:
            return self.batch_size
        return max(1, int(self.max_tokens / self.tokens.mean()))

    def _shuffle_steps(self, batches: list[list[int]], attempt: int) -> list[list[int]]:
        """Neighbours in length go to different processes at the same step; the steps come in random order."""
        if self.window == 0:
            return batches
        starts = np.arange(0, len(batches), self.processes)
        np.random.default_rng((self.seed, self.epoch, attempt, 1)).shuffle(starts)
        return [batch for start in starts for batch in batches[start : start + self.processes]]


def fill(order: Sequence[int], lengths: np.ndarray, budget: int, *, padded: bool) -> list[list[int]]:
    """Cut `order` into batches of at most `budget` tokens, each as long as possible."""
    batches: list[list[int]] = []
    batch: list[int] = []
    total = longest = 0
    for index, length in zip(order, lengths[order].tolist(), strict=True):
        tokens = max(longest, length) * (len(batch) + 1) if padded else total + length
        if batch and tokens > budget:
            batches.append(batch)
            batch, total, longest = [], 0, 0
        batch.append(index)
        total, longest = total + length, max(longest, length)
    return [*batches, batch]


def split_to(batches: list[list[int]], count: int) -> list[list[int]]:
    """`batches` cut further until there are `count`: the largest are halved in place; single ones are repeated."""
    batches = list(batches)
    while len(batches) < count:
        largest = max(range(len(batches)), key=lambda number: len(batches[number]))
        batch = batches[largest]
        middle = (len(batch) + 1) // 2
        batches[largest : largest + 1] = [batch[:middle], batch[middle:] or batch]
    return batches


def use_length_batches(trainer: FinetuneTrainer, sampler: LengthBatchSampler) -> None:
    """Let `trainer` train on the batches of `sampler`. Call before training, once."""
    trainer.train_sampler = sampler
    trainer.add_callback(EpochFollower(sampler))


class EpochFollower(TrainerCallback):
    """Tells a sampler the epoch; the data loader that accelerate makes to resume within an epoch would not."""

    def __init__(self, sampler: LengthBatchSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.sampler.set_epoch(int(state.epoch or 0))
