"""Whole batches shared out among processes."""

from __future__ import annotations

import pytest
from torch.utils.data import BatchSampler

from finetune.errors import UsageError
from finetune.lm_experiments.processes import WholeBatches, gather_all, gather_first, require_same_texts
from finetune.run.folder import Run


@pytest.mark.parametrize(("rows", "processes"), [(14, 3), (13, 3), (6, 3), (2, 3), (9, 2), (5, 1)])
def test_every_batch_is_of_one_process_and_all_take_as_many_turns(rows, processes):
    batches = list(BatchSampler(range(rows), 2, False))
    shards = [WholeBatches(BatchSampler(range(rows), 2, False), processes, rank) for rank in range(processes)]
    turns = list(zip(*map(list, shards), strict=True))
    in_order = [batch for turn in turns for batch in turn]
    assert in_order[: len(batches)] == batches
    assert all(batch == batches[-1] for batch in in_order[len(batches) :]), "who has none keeps step with the last one"
    assert {len(turns)} == {len(shard) for shard in shards}


def test_one_process_gathers_its_own():
    assert gather_all("own") == gather_first("own") == ["own"]


def test_batches_stay_as_they_were_where_a_run_goes_on(tmp_path):
    run = Run()
    require_same_texts(run, 8)
    require_same_texts(run, 4)  # nothing is gone on with
    run.checkpoint = tmp_path
    with pytest.raises(UsageError, match="has 4 texts, and would have 8"):
        require_same_texts(run, 8)
    require_same_texts(run, 4)
