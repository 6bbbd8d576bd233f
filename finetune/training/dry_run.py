"""What a run would do, measured on its own first batches: examples as the model sees them, steps, memory, time."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

from finetune.run.memory import peak_resident_bytes
from finetune.training.parameter_groups import GroupRow, format_groups, list_groups

ADAM_BYTES = 16  # float32 parameter, gradient and two moments
EXAMPLES_SHOWN = 3
SUBWORDS_SHOWN = 40
STEPS_MEASURED = 2


@dataclass(frozen=True)
class Plan:
    """The estimate of one training run."""

    steps: int
    examples: int
    seconds: float
    gigabytes: float
    groups: list[GroupRow]


def format_examples(dataset: Any, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str]) -> str:
    """The first encoded rows: each subword with its label, `-` where it is not trained."""
    lines = []
    for number in range(min(EXAMPLES_SHOWN, len(dataset))):
        row: Mapping[str, Any] = dataset[number]
        subwords = tokenizer.convert_ids_to_tokens(row["input_ids"])
        lines.append(f"Example {number + 1}: {len(subwords)} subwords")
        shown = list(zip(subwords, row["input_ids"], row["labels"], strict=True))[:SUBWORDS_SHOWN]
        lines += [f"  {subword}\t{index}\t{'-' if label < 0 else labels[label]}" for subword, index, label in shown]
        lines += ["  ..."] * (len(subwords) > SUBWORDS_SHOWN)
    return "\n".join(lines)


def count_steps(trainer: Trainer) -> int:
    """Optimizer steps of the whole run, as the Trainer will count them."""
    arguments = trainer.args
    if arguments.max_steps > 0:
        return arguments.max_steps
    batches = len(trainer.get_train_dataloader())
    per_epoch = math.ceil(batches / arguments.gradient_accumulation_steps)
    return math.ceil(per_epoch * arguments.num_train_epochs)


def measure_step(trainer: Trainer) -> float:
    """Seconds of one optimizer step, from forward and backward passes over the first batches (after one to warm up)."""
    batches = iter(trainer.get_train_dataloader())
    model = cast(PreTrainedModel, trainer.model).train()
    seconds = []
    for _, batch in zip(range(STEPS_MEASURED + 1), batches, strict=False):
        start = time.perf_counter()
        with trainer.accelerator.autocast():
            loss = cast(torch.Tensor, trainer.compute_loss(model, trainer._prepare_inputs(batch)))
        loss.backward()
        model.zero_grad()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:] or seconds) * trainer.args.gradient_accumulation_steps


def measure_gigabytes(trainer: Trainer) -> float:
    """Peak memory so far plus what the optimizer will hold."""
    parameters = cast(PreTrainedModel, trainer.model).parameters()
    trained = sum(int(parameter.numel()) for parameter in parameters if parameter.requires_grad)
    return (peak_bytes() + trained * ADAM_BYTES // 2) / 2**30  # parameters and gradients are in the peak already


def peak_bytes() -> int:
    """The most memory that this process has held so far, on its GPU where it has one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return peak_resident_bytes()


def estimate_plan(trainer: Trainer) -> Plan:
    """Run a few batches without changing the model and extrapolate."""
    steps = count_steps(trainer)
    groups = list_groups(cast(PreTrainedModel, trainer.model), trainer.create_optimizer())
    seconds = measure_step(trainer) * steps
    return Plan(steps, len(cast(Sized, trainer.train_dataset)), seconds, measure_gigabytes(trainer), groups)


def format_plan(plan: Plan) -> str:
    minutes = plan.seconds / 60
    return (
        f"Parameter groups:\n{format_groups(plan.groups)}\n"
        f"Training examples: {plan.examples:,}\n"
        f"Optimization steps: {plan.steps:,}\n"
        f"Estimated memory: {plan.gigabytes:.1f} GiB\n"
        f"Estimated training time: {minutes:.1f} minutes on this machine, evaluation not included"
    )
