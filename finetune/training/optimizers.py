"""Optimizers that transformers does not build itself."""

from __future__ import annotations

import importlib
from typing import Any

from transformers import TrainingArguments

from finetune.errors import Problem, UsageError

APEX_OPTIMIZER = "apex_fused_adam"


def find_apex_optimizer(arguments: TrainingArguments, optim: str | None) -> tuple[type, dict[str, Any]] | None:
    """NVIDIA apex's FusedAdam for `--optim apex_fused_adam`; None for every other optimizer.

    Raises:
        UsageError: apex is not installed, or it is the unrelated package of that name on PyPI.
    """
    if optim != APEX_OPTIMIZER:
        return None
    try:
        fused_adam = importlib.import_module("apex.optimizers").FusedAdam
    except (ImportError, AttributeError) as error:
        raise UsageError(
            Problem(
                f"--optim {APEX_OPTIMIZER} needs NVIDIA apex, which cannot be imported here ({error})",
                "PyPI's package `apex` is another project",
                "build https://github.com/NVIDIA/apex from source, or use --optim adamw_torch_fused, which is as fast",
            )
        ) from error
    betas = (arguments.adam_beta1, arguments.adam_beta2)
    return fused_adam, {"lr": arguments.learning_rate, "betas": betas, "eps": arguments.adam_epsilon}
