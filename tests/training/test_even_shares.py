from __future__ import annotations

from collections import Counter

from accelerate.data_loader import BatchSamplerShard
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, SequentialSampler

from finetune.training.even_shares import EvenShares


def draw(kind: type, rows: int, batch: int, processes: int) -> list[list[list[int]]]:
    """Batches of every process."""
    batches = BatchSampler(SequentialSampler(range(rows)), batch, drop_last=False)
    shares = [kind(batches, processes, rank) for rank in range(processes)]
    drawn = [list(share) for share in shares]
    assert all(len(found) == len(share) for found, share in zip(drawn, shares, strict=True))
    return drawn


@given(st.integers(1, 60), st.integers(1, 6), st.integers(2, 5))
def test_every_row_is_used_once_in_as_many_steps_by_every_process(rows, batch, processes):
    drawn = draw(EvenShares, rows, batch, processes)
    assert [len(batches) for batches in drawn] == [
        len(batches) for batches in draw(BatchSamplerShard, rows, batch, processes)
    ]
    assert all(1 <= len(found) <= batch for batches in drawn for found in batches)
    uses = Counter(row for batches in drawn for found in batches for row in found)
    assert set(uses) == set(range(rows))
    if rows >= processes and batch > 1:
        assert set(uses.values()) == {1}


@given(st.integers(1, 60), st.integers(1, 6), st.integers(2, 5))
def test_a_step_holds_the_rows_that_one_process_would_train_on(rows, batch, processes):
    steps = [
        sorted(row for found in step for row in found)
        for step in zip(*draw(EvenShares, rows, batch, processes), strict=True)
    ]
    alone = list(BatchSampler(SequentialSampler(range(rows)), batch * processes, drop_last=False))
    same = len(alone) if len(alone[-1]) >= processes else len(alone) - 2
    assert steps[: max(same, 0)] == alone[: max(same, 0)]


def test_accelerate_itself_repeats_rows():
    repeated = Counter(row for batches in draw(BatchSamplerShard, 10, 4, 2) for found in batches for row in found)
    assert repeated[0] == 2, "otherwise this module is no longer needed"
