"""Several processes share out the ragged end of an epoch, so that every row is trained on once.

accelerate fills the last step of an epoch up with rows from its beginning (`even_batches`), which then weigh twice. Here the
rows that are left are dealt out evenly. Losses are divided by the number of labelled items of all processes together
(`training/losses.py`), so a step whose batches differ in size is the step that one process would make of the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from accelerate.data_loader import BatchSamplerShard


class EvenShares(BatchSamplerShard):
    """The batches of one process, each row once over all processes. Made from a `BatchSamplerShard` by `FinetuneTrainer`.

    As many steps as accelerate would make. Where fewer rows are left than there are processes, the last two steps are
    shared out together; rows are used twice only where even those do not suffice (batches of one row).
    """

    def __iter__(self) -> Iterator[list[int]]:
        held: list[list[int]] | None = None  # the last step that has a batch for every process
        step: list[list[int]] = []
        for batch in self.batch_sampler:
            step.append(batch)
            if len(step) == self.num_processes:
                if held is not None:
                    yield held[self.process_index]
                held, step = step, []
        for ending in end_epoch(held, [row for batch in step for row in batch], self.num_processes):
            yield ending[self.process_index]


def end_epoch(held: list[list[int]] | None, rest: list[int], processes: int) -> list[list[list[int]]]:
    """The last steps of an epoch, each a batch for every process, from the last whole step and the rows after it."""
    if not rest:
        return [] if held is None else [held]
    if held is None or len(rest) >= processes:
        return [*([] if held is None else [held]), deal(rest, processes)]
    rows = [row for batch in held for row in batch] + rest
    if len(rows) < 2 * processes:
        return [held, deal(rest, processes)]
    shares = deal(rows, 2 * processes)
    return [shares[:processes], shares[processes:]]


def deal(rows: list[int], processes: int) -> list[list[int]]:
    """`rows` in as many nearly equal parts as there are processes; too few rows are repeated."""
    repeated = rows * -(-processes // len(rows)) if len(rows) < processes else rows
    enough = repeated[: max(processes, len(rows))]
    return [part.tolist() for part in np.array_split(np.array(enough), processes)]


def repeats_rows(shard: BatchSamplerShard) -> bool:
    """Whether accelerate would fill up the end of an epoch with rows from its beginning."""
    return shard.even_batches and not shard.split_batches and not shard.drop_last
