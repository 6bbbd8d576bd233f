"""`--fsdp`: parameters shared out over devices by accelerate. What it would pass over in silence is told before training."""

from __future__ import annotations

import torch

from finetune.arguments.training_table import TrainingValues
from finetune.errors import Problem
from finetune.run.launcher import count_processes


def check_sharding(values: TrainingValues) -> list[Problem]:
    """What keeps `--fsdp` from having an effect: accelerate trains CPU processes whole, and says nothing."""
    if not values.get("fsdp"):
        return []
    if values.get("use_cpu") or not torch.accelerator.is_available():
        found = "--fsdp shares parameters out over GPUs or other accelerators, and this training is on the processor"
        return [Problem(found, remedy="drop it: processes on a CPU each hold the whole model")]
    if count_processes() == 1:
        found = "--fsdp shares parameters out among several processes, and this training is one"
        return [Problem(found, remedy="add --nproc N, start it by torchrun, or drop it")]
    return []
