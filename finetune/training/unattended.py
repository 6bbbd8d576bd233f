"""What a training does where nobody watches: checkpoints by the clock, steps without finite numbers passed over."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finetune.arguments.unattended import UnattendedArguments
from finetune.errors import NonFiniteError, Problem, UsageError
from finetune.training.callbacks import sum_over_processes
from finetune.training.losses import TokenLoss

logger = logging.getLogger(__name__)

PASSED_OVER = "passed_over"  # in the log history, which every checkpoint holds: a resumed run goes on counting


def build_unattended(options: UnattendedArguments, loss: TokenLoss, save_strategy: str) -> list[TrainerCallback]:
    """The callbacks that `options` ask for; they come before those that save and that end a run on a bad loss.

    Raises:
        UsageError: checkpoints by the clock are wanted, and none at all.
    """
    if options.save_minutes is not None and save_strategy == "no":
        found = f"--save_minutes {options.save_minutes:g} and --save_strategy no contradict each other"
        raise UsageError(Problem(found, remedy="drop one of them"))
    callbacks: list[TrainerCallback] = []
    if options.skip_nonfinite:
        callbacks.append(NonFiniteSteps(loss, options.skip_nonfinite))
    if options.save_minutes is not None:
        callbacks.append(SaveByClock(options.save_minutes))
    return callbacks


class SaveByClock(TrainerCallback):
    """Save at the end of the first step that comes `minutes` after the checkpoint before it (or the start).

    The clock is that of the first process: all save in the same step. What is saved between evaluations has no score, and is
    never chosen as the best.
    """

    def __init__(self, minutes: float) -> None:
        self.seconds, self.saved = minutes * 60, time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.saved = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        due = state.is_world_process_zero and time.monotonic() - self.saved >= self.seconds
        if sum_over_processes(due, args):
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.saved = time.monotonic()


class NonFiniteSteps(TrainerCallback):
    """Take the gradients of a step away where they or its loss are not finite: the optimizer then changes nothing.

    Neither weights nor moments nor decay move; schedule and step count go on. All processes do so together. Under a
    GradScaler (fp16) infinite gradients are everyday life: it passes over those steps itself, and only losses count here.

    Args:
        loss: of the training, which remembers values that are not finite.
        allowed: steps of the whole run, resumed or not, that may be passed over.
    """

    def __init__(self, loss: TokenLoss, allowed: int) -> None:
        self.loss, self.allowed = loss, allowed
        self.logged_at = 0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        args.logging_nan_inf_filter = True  # in the mean that is logged; off again before anything is evaluated

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        model, scaler = kwargs["model"], getattr(kwargs["optimizer"], "scaler", None)
        loss = self.loss.take_non_finite()
        norm = 0.0 if scaler is not None else gradient_norm(model.parameters())
        if not sum_over_processes(float(loss is not None or not math.isfinite(norm)), args):
            return
        quantity, value = ("the training loss", loss) if loss is not None else ("the gradient norm", norm)
        self._count(state, quantity, value)
        model.zero_grad(set_to_none=True)

    def _count(self, state: TrainerState, quantity: str, value: float) -> None:
        """One more step that is passed over.

        Raises:
            NonFiniteError: it is one too many.
        """
        step, number = state.global_step + 1, count_passed_over(state) + 1
        if number > self.allowed:
            quantity += f" (with {self.allowed:,} steps passed over before, as --skip_nonfinite allows)"
            raise NonFiniteError(quantity, value, step)
        state.log_history.append({PASSED_OVER: 1.0, "step": step, "epoch": state.epoch or 0.0})
        logger.warning(
            "Step %d is passed over: %s became %s (%d of at most %d).", step, quantity, value, number, self.allowed
        )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        args.logging_nan_inf_filter = False

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """An interval whose every step was passed over has no loss; transformers would log 0."""
        logs = kwargs["logs"]
        if "loss" not in logs:
            return
        if count_passed_over(state, since=self.logged_at) == state.global_step - self.logged_at:
            del logs["loss"], state.log_history[-1]["loss"]
        self.logged_at = state.global_step

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.logged_at = state.global_step


def gradient_norm(parameters: Iterable[torch.nn.Parameter]) -> float:
    """The global norm of all gradients; waits for the device."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0


def count_passed_over(state: TrainerState, since: int = 0) -> int:
    """Steps after `since` that were passed over for numbers that are not finite."""
    return sum(PASSED_OVER in entry and entry["step"] > since for entry in state.log_history)
