"""`--fsdp` where it would have no effect is told, not passed over."""

from __future__ import annotations

import pytest
import torch

from finetune.training.sharding import check_sharding


@pytest.mark.parametrize(
    ("values", "accelerator", "processes", "said"),
    [
        ({}, False, "1", None),
        ({"fsdp": False}, False, "2", None),
        ({"fsdp": True}, False, "2", "on the processor"),
        ({"fsdp": "full_shard"}, True, "2", None),
        ({"fsdp": True, "use_cpu": True}, True, "2", "on the processor"),
        ({"fsdp": True}, True, "1", "this training is one; add --nproc N"),
    ],
)
def test_sharding_without_effect_is_told(monkeypatch, values, accelerator, processes, said):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    monkeypatch.setenv("WORLD_SIZE", processes)
    problems = [str(problem) for problem in check_sharding(values)]
    assert (not problems) if said is None else (len(problems) == 1 and said in problems[0])
