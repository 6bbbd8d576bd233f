"""What fine-tuning for surprisals adds to the Trainer: batches that are made when they are needed, several losses, a look
at the validation texts after each epoch, and patience that counts epochs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finetune.lm_experiments.batches import TextBatch, TextBatches
from finetune.lm_experiments.hooks import Hooks
from finetune.lm_experiments.losses import SplitLoss, count_labels, row_losses
from finetune.lm_experiments.processes import WholeBatches, gather_all
from finetune.training.resuming import EndsTraining
from finetune.training.trainer import FinetuneTrainer

MADE = "made"  # where a batch carries what it was made of, past the model
SPLITS = ("train", "validation")

Validated = tuple[float, dict[str, float], int, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Validation:
    """One look at the validation texts: the reduced loss, each loss by name, and the cross-entropy of each row.

    `example_losses` (rows,) are means over a row's predicted tokens in nats, in the order of the file.
    """

    epoch: int
    loss: float
    losses: dict[str, float]
    example_losses: npt.NDArray[np.float64]


@dataclass(frozen=True)
class SeenBatch:
    """A batch that has been through the model; `logits` are (rows, length, vocabulary), detached."""

    split: str
    epoch: int
    number: int  # within its epoch, from 1
    made: TextBatch
    logits: torch.Tensor
    loss: float
    losses: dict[str, float]


@dataclass
class ExperimentSetup:
    """What a `ExperimentTrainer` works with beside its arguments.

    `observers` see every batch; where several processes take turns, each is called in all of them at each turn, with None
    where this one has no batch. `watch` sees every validation, and ends training by True.
    """

    task: str
    texts: dict[str, TextBatches]
    losses: dict[str, SplitLoss]
    hooks: Hooks
    validation_batch_size: int
    observers: list[Callable[[SeenBatch | None], None]] = field(default_factory=list)
    watch: Callable[[Validation], bool] | None = None
    history: list[Validation] = field(default_factory=list)
    stopped_by_watch: bool = False

    def see(self, seen: SeenBatch | None) -> None:
        for observe in self.observers:
            observe(seen)


@dataclass(frozen=True)
class MadeBatch:
    """A training batch on its way to the model.

    `turn`: the numbers of those that all processes have at the same time. Its own is past them where a process has none
    left in an epoch: then it keeps step with the others, and `batch` counts for nothing.
    """

    epoch: int
    number: int
    turn: range
    batch: TextBatch

    @property
    def counts(self) -> bool:
        return self.number in self.turn


OVERRIDDEN = ("get_batch_samples", "compute_loss", "_issue_warnings_after_load", "evaluate")


class ExperimentTrainer(FinetuneTrainer):
    """A Trainer whose batches are row numbers until they are needed: preprocessing may look at the model's state.

    The loss of a batch is weighted by its share of the labelled tokens of an update, so that batches that are accumulated
    count as one large batch would.
    """

    loss_is_scaled_for_ga = True
    shares = WholeBatches

    def __init__(self, *args: Any, setup: ExperimentSetup, **kwargs: Any) -> None:
        self.setup = setup
        kwargs["args"]._n_gpu = min(kwargs["args"].n_gpu, 1)  # losses hold the model itself, not replicas of it
        super().__init__(*args, **kwargs)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """Replaces batches as the loader gives them: those of one update are made from their row numbers, and counted."""
        picked, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not picked:
            return [], None
        size, processes = self.args.gradient_accumulation_steps * self.args.world_size, self.args.world_size
        updates = math.ceil(self.batches_per_epoch / size)
        epoch, first = self.state.global_step // updates + 1, self.state.global_step % updates * size + 1
        batches = [
            self._make(epoch, first + turn * processes, item["rows"].tolist()) for turn, item in enumerate(picked)
        ]
        count = torch.stack([self._count(batch) for batch in batches]).sum().to(device)
        return batches, self.accelerator.gather(count[None]).sum() if processes > 1 else count

    def _count(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """How many tokens a batch predicts."""
        return count_labels(batch["labels"], self.setup.task).sum() * batch[MADE].counts

    @property
    def batches_per_epoch(self) -> int:
        return math.ceil(len(self.setup.texts["train"]) / self.args.train_batch_size)

    def _make(self, epoch: int, first: int, rows: Sequence[int]) -> dict[str, Any]:
        """The batch of this process in the turn that begins with number `first`."""
        turn = range(first, min(first + self.args.world_size, self.batches_per_epoch + 1))
        own, made = first + self.args.process_index, None
        for number in turn:
            self.setup.hooks.move(epoch, number)
            self.setup.hooks.call("pre_train_batch")
            made = self.setup.texts["train"].make(rows, epoch) if number == own else made
        made = made or self.setup.texts["train"].make(rows, epoch)
        return {**as_tensors(made), MADE: MadeBatch(epoch, own, turn, made)}

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Replaces the model's own loss by the weighted one of a training batch, from several losses."""
        count, inputs = self._count(inputs), dict(inputs)
        made: MadeBatch = inputs.pop(MADE)
        self.setup.hooks.move(made.epoch, made.turn[-1], made.turn)
        outputs = model(**inputs)
        loss = self._compute_whole(made, outputs, inputs["labels"]) * self.args.world_size  # whose mean is taken
        loss = loss * count / torch.as_tensor(num_items_in_batch).clamp(min=1)
        return (loss, outputs) if return_outputs else loss

    def _compute_whole(self, made: MadeBatch, outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        """The loss of a batch by itself, which observers get to see."""
        if not made.counts:
            self.setup.see(None)
            return outputs["logits"].float().sum()
        call = (made.epoch - 1) * self.batches_per_epoch + made.number - 1
        total, parts = self.setup.losses["train"].compute(outputs, labels, call)
        if self.setup.observers:
            self.setup.see(_seen("train", made.epoch, made.number, made.batch, outputs, total, parts))
        return total

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Replaces a warning about weights that are tied to others: a checkpoint holds them once, so none is missing."""
        tied = getattr(self.model, "all_tied_weights_keys", None) or {}
        missing = [name for name in load_result.missing_keys if name not in tied]
        super()._issue_warnings_after_load(type(load_result)(missing, load_result.unexpected_keys))  # type: ignore[misc]

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Replaces the evaluation loop: look at the validation texts, log what is seen, ask `watch` whether to go on."""
        started = time.perf_counter()
        seen = self.validate(max(round(self.state.epoch or 0), 1))
        self.setup.history.append(seen)
        metrics = {f"{metric_key_prefix}_loss": seen.loss}
        metrics |= {f"{metric_key_prefix}_{name}": value for name, value in seen.losses.items()}
        self.log({**metrics, f"{metric_key_prefix}_runtime": time.perf_counter() - started})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        if self.setup.watch is not None and self.setup.watch(seen):
            self.control.should_training_stop = self.setup.stopped_by_watch = True
        return metrics

    @torch.no_grad()
    def validate(self, epoch: int) -> Validation:
        """The losses of the validation texts: means over batches, weighted by their labelled tokens."""
        setup, model = self.setup, cast(nn.Module, self.model)
        texts, loss = setup.texts["validation"], setup.losses["validation"]
        model.eval()
        setup.hooks.move(epoch)
        setup.hooks.call("pre_validation")
        batches = list(texts.in_order(setup.validation_batch_size))
        results = [
            result
            for first in range(0, len(batches), self.args.world_size)
            for result in self._validate_turn(model, epoch, first + 1, batches[first : first + self.args.world_size])
        ]
        weights = np.array([result[2] for result in results], dtype=np.float64)
        weights = weights / max(weights.sum(), 1)
        losses = {
            name: float(sum(weight * result[1][name] for weight, result in zip(weights, results, strict=True)))
            for name in loss.losses
        }
        total = float(sum(weight * result[0] for weight, result in zip(weights, results, strict=True)))
        return Validation(epoch, total, losses, np.concatenate([result[3] for result in results]))

    def _validate_turn(
        self, model: nn.Module, epoch: int, first: int, batches: Sequence[Sequence[int]]
    ) -> list[Validated]:
        """The results of as many batches as there are processes, or fewer, each of which validates one."""
        own: tuple[SeenBatch, Validated] | None = None
        for place, rows in enumerate(batches):
            self.setup.hooks.move(epoch, first + place)
            self.setup.hooks.call("pre_validation_batch")
            own = self._validate_batch(model, epoch, first + place, rows) if place == self.args.process_index else own
            self.setup.hooks.call("post_validation_batch")
        self.setup.see(own and own[0])
        return [result for result in gather_all(own and own[1]) if result is not None]

    def _validate_batch(
        self, model: nn.Module, epoch: int, number: int, rows: Sequence[int]
    ) -> tuple[SeenBatch, Validated]:
        """What is seen of a batch; and its loss with its parts, its labelled tokens and the cross-entropy of each row."""
        setup = self.setup
        made = setup.texts["validation"].make(rows, epoch)
        inputs = {name: tensor.to(self.args.device) for name, tensor in as_tensors(made).items()}
        with self.compute_loss_context_manager():
            outputs = model(**inputs)
            total, parts = setup.losses["validation"].compute(outputs, inputs["labels"], number - 1)
        each, counts = row_losses(outputs["logits"], inputs["labels"], setup.task)
        seen = _seen("validation", epoch, number, made, outputs, total, parts)
        return seen, (seen.loss, seen.losses, int(counts.sum()), each.double().cpu().numpy())


def _seen(
    split: str, epoch: int, number: int, made: TextBatch, outputs: Any, total: torch.Tensor, parts: dict[str, Any]
) -> SeenBatch:
    losses = {name: float(part) for name, part in parts.items()}
    return SeenBatch(split, epoch, number, made, outputs["logits"].detach(), float(total.detach()), losses)


def as_tensors(made: TextBatch) -> dict[str, torch.Tensor]:
    """The arrays of a batch, as the model takes them."""
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in made.arrays.items()}


def collate_numbers(rows: list[int]) -> dict[str, torch.Tensor]:
    return {"rows": torch.tensor(rows)}


class Patience(EndsTraining):
    """Stop after `patience` epochs in which the validation loss has not come more than `delta` below its best.

    The best is that of the last improvement, so that many small steps add up to one. At least `min_epochs` are trained.
    Counts from the log history that every checkpoint holds, so that a resumed run stops where an undisturbed one would.
    """

    def __init__(self, patience: int, delta: float = 0.0, min_epochs: int = 0) -> None:
        self.patience, self.delta, self.min_epochs = patience, delta, min_epochs

    def has_ended(self, args: TrainingArguments, state: TrainerState) -> bool:
        return self.is_exhausted(state)

    def is_exhausted(self, state: TrainerState) -> bool:
        losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        best, waited = math.inf, 0
        for loss in losses:
            improved = loss < best - self.delta
            best, waited = (loss, 0) if improved else (best, waited + 1)
        return waited >= self.patience and len(losses) >= self.min_epochs

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if self.is_exhausted(state):
            control.should_training_stop = True


class BestInMemory(TrainerCallback):
    """Keeps the weights of the epoch with the lowest validation loss, for runs that write nothing."""

    def __init__(self) -> None:
        self.loss, self.weights = math.inf, {}  # type: ignore[var-annotated]

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        loss = kwargs["metrics"]["eval_loss"]
        if loss < self.loss:
            self.loss = loss
            self.weights = {name: value.to("cpu", copy=True) for name, value in kwargs["model"].state_dict().items()}

    def restore(self, model: nn.Module) -> None:
        """Put the best weights back."""
        if self.weights:
            model.load_state_dict(self.weights)
