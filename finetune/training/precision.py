"""The number format of training: what was asked for, else the fastest that this hardware computes natively.

Mixed precision (Micikevicius et al., 2018, https://arxiv.org/abs/1710.03740): products in the short format, weights,
optimizer and losses in float32. bfloat16 has float32's range and needs no loss scaling; float16 does.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

from finetune.arguments.training_table import TrainingValues
from finetune.models.families import find_family

logger = logging.getLogger(__name__)

NATIVE_ON_CPU = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}  # torch.cpu.get_capabilities() -> name to print
AMPERE = (8, 0)
TENSOR_CORES = (7, 0)
LONG_NAMES = {"bf16": "bfloat16", "fp16": "float16 with loss scaling", "fp32": "float32"}


@dataclass(frozen=True)
class PrecisionChoice:
    """`dtype` is "bf16", "fp16" or "fp32"; `reason` completes the sentence "Training in ... because ..."."""

    dtype: str
    reason: str

    @property
    def training_values(self) -> TrainingValues:
        """The TrainingArguments that this choice means."""
        return {"bf16": self.dtype == "bf16", "fp16": self.dtype == "fp16"}

    def __str__(self) -> str:
        return f"Training in {LONG_NAMES[self.dtype]} because {self.reason}."


def choose_precision(values: TrainingValues, configs: Iterable[PretrainedConfig] = ()) -> PrecisionChoice:
    """Choose by `values`, explicit TrainingArguments by name: --bf16 and --fp16, True or False, always win.

    But --fp16 on a CPU, which accelerate would pass over in silence, is float32, and so is every model of `configs` whose
    code in transformers fails in a short format.
    """
    choice = _choose(values)
    whole = sorted({config.model_type for config in configs if not find_family(config).short_formats})
    if choice.dtype == "fp32" or not whole:
        return choice
    reason = f"transformers' code of {' and '.join(whole)} models fails in {LONG_NAMES[choice.dtype]}"
    return PrecisionChoice("fp32", reason)


def _choose(values: TrainingValues) -> PrecisionChoice:
    has_gpu = torch.cuda.is_available() or torch.accelerator.is_available()
    if values.get("fp16") and (values.get("use_cpu") or not has_gpu):
        return PrecisionChoice("fp32", "--fp16 was given, but float16 needs a GPU, and this run is on the CPU")
    for flag in ("bf16", "fp16"):
        if values.get(flag):
            return PrecisionChoice(flag, f"--{flag} was given")
    for flag in ("bf16", "fp16"):
        if flag in values:
            return PrecisionChoice("fp32", f"--{flag} False was given")
    if torch.cuda.is_available() and not values.get("use_cpu"):
        return _choose_on_cuda()
    return _choose_on_cpu()


def _choose_on_cuda() -> PrecisionChoice:
    name = torch.cuda.get_device_name()
    capabilities = [torch.cuda.get_device_capability(number) for number in range(torch.cuda.device_count())]
    weakest = min(capabilities)
    if torch.version.hip is not None:
        return PrecisionChoice("bf16" if torch.cuda.is_bf16_supported() else "fp16", f"{name} computes it natively")
    if weakest >= AMPERE:
        return PrecisionChoice("bf16", f"{name} (compute capability {weakest[0]}.{weakest[1]}) computes it natively")
    if weakest >= TENSOR_CORES:
        return PrecisionChoice("fp16", f"{name} has tensor cores for it but none for bfloat16")
    return PrecisionChoice("fp32", f"{name} has no tensor cores")


def _choose_on_cpu() -> PrecisionChoice:
    capabilities = torch.cpu.get_capabilities()
    units = [name for key, name in NATIVE_ON_CPU.items() if capabilities.get(key)]
    if units and torch.backends.mkldnn.is_available():
        return PrecisionChoice("bf16", f"this CPU multiplies bfloat16 natively ({units[0]})")
    return PrecisionChoice("fp32", "neither a GPU nor a CPU with bfloat16 units was found")
