"""What a distillation run says: lines of epochs, TensorBoard's `losses/*`, a file of weights after each epoch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finetune.distillation.model import Distillation, DistillationLoss
from finetune.run.course import LOSS_PART
from finetune.training.dry_run import peak_bytes
from finetune.training.length_batches import EpochFollower

logger = logging.getLogger(__name__)

BOARD = Path("log", "train")


class ExampleEpochs(EpochFollower):
    """Tells the examples the epoch, as `EpochFollower` tells the sampler: other masks, the same ones when resumed."""


class DistillationLog(TrainerCallback):
    """Reports; `save(name)`, where given, writes the student's weights to a file of that name after each epoch."""

    def __init__(
        self,
        folder: Path,
        loss: DistillationLoss,
        *,
        examples: int,
        save: Callable[[str], object] | None = None,
    ) -> None:
        self.folder, self.loss, self.save, self.examples = folder, loss, save, examples
        self.board: SummaryWriter | None = None
        self.statistics: dict[str, float] = {}
        self.since = (time.perf_counter(), 0)
        self.of_epoch = (0.0, 0)  # sum of losses and number of steps

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if state.is_world_process_zero:
            self.board = SummaryWriter(str(self.folder / BOARD), purge_step=state.global_step + 1)
        self.since = (time.perf_counter(), state.global_step)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.of_epoch = (0.0, 0)
        logger.info("--- Starting epoch %d/%d", int(state.epoch or 0), int(args.num_train_epochs) - 1)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        number = max(round(state.epoch or 0) - 1, 0)
        if control.should_training_stop and state.global_step < state.max_steps:
            return  # interrupted
        if not float(state.epoch or 0).is_integer():
            return  # --max_steps ended it before its end
        logger.info("--- Ending epoch %d/%d", number, int(args.num_train_epochs) - 1)
        logger.info("%d sequences have been trained during this epoch.", self.examples)
        if state.is_world_process_zero and self.save is not None:
            self.save(f"model_epoch_{number}.pth")

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if self.board is not None and (state.global_step + 1) % max(int(state.logging_steps), 1) == 0:
            self.statistics = dict(describe_parameters(kwargs["model"]))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.loss.steps += 1

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs = kwargs.get("logs") or {}
        if "loss" not in logs:
            return
        steps, means = max(self.loss.steps, 1), self.loss.take_means()
        self.of_epoch = (self.of_epoch[0] + logs["loss"] * steps, self.of_epoch[1] + steps)
        logger.info("Losses: %s.", ", ".join(f"{name} {value:.5f}" for name, value in means.items()))
        logs |= {f"{LOSS_PART}{name}": round(value, 6) for name, value in means.items()}
        if self.board is None:
            return
        values = {"losses/loss": logs["loss"], "learning_rate/lr": logs.get("learning_rate", 0.0)}
        values["losses/cum_avg_loss_epoch"] = self.of_epoch[0] / self.of_epoch[1]
        values["global/memory_usage"] = peak_bytes() / 1e6
        values |= {f"losses/loss_{name}": value for name, value in means.items()}
        values |= self.statistics | {"global/speed": self._seconds_a_step(state.global_step)}
        for name, value in values.items():
            self.board.add_scalar(name, value, state.global_step)
        self.board.flush()

    def _seconds_a_step(self, step: int) -> float:
        now, (before, first) = time.perf_counter(), self.since
        self.since = (now, step)
        return (now - before) / max(step - first, 1)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if self.board is not None:
            self.board.close()


def describe_parameters(model: Any) -> Iterator[tuple[str, float]]:
    """Mean and deviation of each of the student's weights and gradients, by TensorBoard's names."""
    module: Distillation = getattr(model, "module", model)
    for name, parameter in module.student.named_parameters():
        for kind, values in (("parameter", parameter.detach()), ("grad", parameter.grad)):
            if values is not None:
                deviation, mean = torch.std_mean(values.float(), correction=0)
                yield f"{kind}_mean/{name}", mean.item()
                yield f"{kind}_std/{name}", deviation.item()
