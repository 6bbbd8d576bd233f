"""Going on where a checkpoint was written, to the same end as a training that nothing disturbed.

transformers goes on by the number of the step alone. It so trains a step more when that step was the last, forgets what an
epoch ends with (its log, evaluation and checkpoint) when it was stopped before that, and the sums of which it logs means.
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, SaveStrategy

from finetune.errors import RunError
from finetune.models.adapters import find_adapted, load_adapter_weights
from finetune.models.parts import find_beside
from finetune.models.saving import save_pretrained
from finetune.run.checkpoints import POSITION, make_way, read_position, read_state
from finetune.training.averaging import Averages
from finetune.training.settled import hide_in_arguments
from finetune.training.sharding import (
    keep_tied_once,
    load_whole_optimizer,
    load_whole_weights,
    plain_optimizer,
    read_whole_optimizer,
    shard_on_processor,
    tell_shares,
)

BESIDE = "beside.safetensors"  # what is trained beside a model with an adapter: projections between student and teacher

logger = logging.getLogger(__name__)

MOMENTS = {"adamw": 2, "adam": 2, "lamb": 2, "adamw8bit": 0, "lion": 1, "rmsprop": 1}  # of an optimizer, a parameter


def _tell_room(what: str, needed: int, free: int, folder: str) -> str:
    return (
        f"{what} needs {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free in {folder}; make room and run the same "
        "command again, it goes on from the last checkpoint"
    )


class EndsTraining(TrainerCallback):
    """A callback that may end training before its last step."""

    def has_ended(self, args: TrainingArguments, state: TrainerState) -> bool:
        """Whether training is at its end, by what the state alone says."""
        raise NotImplementedError


class InterruptsTraining(TrainerCallback):
    """A callback that may ask for a checkpoint between those of the schedule, which an undisturbed run would not have."""

    off_schedule = False


class EpochEnds(TrainerCallback):
    """Knows whether the end of the running epoch is being dealt with, and ends epochs that have nothing left."""

    def __init__(self, begin: Callable[[], None]) -> None:
        self.begin = begin
        self.reached = False
        self.nothing_left = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.begin()

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        control.should_training_stop = control.should_training_stop or self.nothing_left

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.reached = False

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.reached = True


class ResumingTrainer(Trainer):
    """A Trainer that ends with the same weights and figures, however often it was interrupted."""

    averages: Averages | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._epoch_ends = EpochEnds(self._begin)
        self.add_callback(self._epoch_ends)
        self._checkpoint: str | None = None  # gone on from at an epoch's last step: its random state is still to load
        self._recalled: dict[str, Any] = {}

    def _init_training_state(  # type: ignore[override]
        self, max_steps: int, num_update_steps_per_epoch: int, num_train_epochs: int, checkpoint: str | None, trial: Any
    ) -> tuple[int, int]:
        """Where to begin (epoch, batch of it). Replaces what follows from the number of the step alone."""
        place = super()._init_training_state(max_steps, num_update_steps_per_epoch, num_train_epochs, checkpoint, trial)
        state = read_state(Path(checkpoint)) if checkpoint else {}
        self._recalled = read_position(state)
        self._find_best(state.get("best_model_checkpoint"))
        self._epoch_ends.nothing_left = bool(checkpoint) and self._has_ended(max_steps)
        if not self._recalled:
            return place
        if self._recalled["epoch_ended"]:
            return (num_train_epochs, 0) if self._epoch_ends.nothing_left else place
        if place[1] == 0 and place[0] > 0 and not self.args.ignore_data_skip:
            self._checkpoint = checkpoint
            return place[0] - 1, num_update_steps_per_epoch * self.args.gradient_accumulation_steps
        return place

    def _find_best(self, recorded: str | None) -> None:
        """The best checkpoint before an interruption, also where the folder of the run has moved since."""
        folder = Path(str(self.args.output_dir), Path(recorded).name) if recorded else None
        if folder is not None and folder.is_dir():
            self.state.best_model_checkpoint = str(folder)

    def _has_ended(self, max_steps: int) -> bool:
        callbacks = [item for item in self.callback_handler.callbacks if isinstance(item, EndsTraining)]
        by_callback = any(item.has_ended(self.args, self.state) for item in callbacks)
        return self.state.global_step >= max_steps or by_callback

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """Replaces the batches of an update by none where training is at its end already."""
        if self._epoch_ends.nothing_left:
            return [], None
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def _maybe_log_save_evaluate(self, tr_loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        """Replaces the random state before the end of an epoch that was cut off by that in which it would have been."""
        if self._checkpoint is not None:
            self._load_rng_state(self._checkpoint)
            self._checkpoint = None
        super()._maybe_log_save_evaluate(tr_loss, *args, **kwargs)

    def _begin(self) -> None:
        if self.is_fsdp_enabled:
            tell_shares(cast(torch.nn.Module, self.model))
        if self.args.should_save and not self._epoch_ends.nothing_left:
            self._foresee_room()
        self.recall_sums()

    def _foresee_room(self) -> None:
        """Before the first step: the model must fit on the disk, and it is said when its checkpoints may not.

        Raises:
            RunError: there is no room for the weights alone.
        """
        parameters = list(cast(torch.nn.Module, self.model).parameters())
        weights = sum(item.nbytes for item in parameters)
        moments = MOMENTS.get(str(self.args.optim).rpartition(".")[2].lower().partition("_")[0], 0)
        trained = sum(item.nbytes for item in parameters if item.requires_grad) * moments
        saves = self.args.save_strategy != SaveStrategy.NO
        free = shutil.disk_usage(str(self.args.output_dir)).free
        if free < weights:
            raise RunError(_tell_room("the disk is full: the model", weights, free, str(self.args.output_dir)))
        if saves and free < weights + (needed := weights + trained):
            logger.warning(
                "%s.", _tell_room("The disk may become full: a checkpoint", needed, free, str(self.args.output_dir))
            )

    def recall_sums(self) -> None:
        """Go on with the sums of which means are logged. Called when training begins, after transformers' own reset."""
        if self._recalled:
            self._tr_loss += self._recalled["loss"]
            self._total_loss_scalar = self._recalled["logged_loss"]
            self._globalstep_last_logged = self._recalled["logged_step"]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Replaces no checkpoint of the same step before the new one is whole; notes where training stands."""
        states = cast(dict[str, Any], self.state.stateful_callbacks)  # a dictionary once training has begun
        states[POSITION] = {
            "epoch_ended": self._epoch_ends.reached,
            "loss": self._mean_over_processes(self._tr_loss),
            "logged_loss": self._total_loss_scalar,
            "logged_step": self._globalstep_last_logged,
            "off_schedule": self._is_off_schedule(),
        }
        if self.args.should_save:
            self._require_room()
            make_way(Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
        PartialState().wait_for_everyone()
        super()._save_checkpoint(model, trial)

    def _is_off_schedule(self) -> bool:
        callbacks = [item for item in self.callback_handler.callbacks if isinstance(item, InterruptsTraining)]
        return any(item.off_schedule for item in callbacks)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Replaces all weights by those that are trained where they are an adapter's, and hides secrets."""
        module = cast(torch.nn.Module, self.model)
        state_dict = keep_tied_once(module, state_dict) if self.is_fsdp_enabled and state_dict else state_dict
        adapted = find_adapted(module)
        shown = hide_in_arguments(self.args)
        if adapted is None:
            given, self.args = self.args, shown
            try:
                super()._save(output_dir, state_dict)
            finally:
                self.args = given
            return
        if not self.args.should_save:
            return
        folder = Path(str(self.args.output_dir if output_dir is None else output_dir))
        save_pretrained(adapted, cast(Any, self.processing_class), folder)
        if beside := find_beside(module):
            save_file({name: item.detach().contiguous() for name, item in beside.items()}, folder / BESIDE)
        torch.save(shown, folder / "training_args.bin")

    def create_accelerator_and_postprocess(self) -> None:
        """Replaces whole models by sharded ones on processors, too (`sharding.py`)."""
        super().create_accelerator_and_postprocess()
        shard_on_processor(self)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Replaces files that only FSDP reads by those of one process."""
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        whole = read_whole_optimizer(plain_optimizer(self.optimizer), keep=self.args.should_save)
        if self.args.should_save:
            torch.save(whole, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(cast(Any, self.lr_scheduler).state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Replaces loading all weights where a checkpoint holds those of an adapter, or each process holds a part."""
        if self.is_fsdp_enabled:
            if model is not None:  # before that it is not sharded
                load_whole_weights(model, Path(resume_from_checkpoint))
            return
        if not self._load_adapter(Path(resume_from_checkpoint)):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.averages is not None:
            self.averages.load(Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Replaces names of states by the objects that they are in a run that never stopped: what is saved is the same."""
        if self.is_fsdp_enabled and checkpoint:
            load_whole_optimizer(plain_optimizer(self.optimizer), Path(checkpoint) / OPTIMIZER_NAME)
            scheduler = torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True)
            cast(Any, self.lr_scheduler).load_state_dict(scheduler)
        else:
            super()._load_optimizer_and_scheduler(checkpoint)
        for state in self.optimizer.state.values() if self.optimizer is not None else ():
            shared = {sys.intern(name) if isinstance(name, str) else name: value for name, value in state.items()}
            state.clear()
            state.update(shared)

    def _load_best_model(self) -> None:
        """Replaces loading all weights where a checkpoint holds those of an adapter, or each process holds a part."""
        if self.is_fsdp_enabled:
            load_whole_weights(cast(torch.nn.Module, self.model), Path(str(self.state.best_model_checkpoint)))
            return
        if not self._load_adapter(Path(str(self.state.best_model_checkpoint))):
            super()._load_best_model()
        if self.averages is not None:
            self.averages.settle_best(Path(str(self.state.best_model_checkpoint)))

    def _evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Replaces the score of the weights by the best of theirs and those of their averages."""
        metrics = super()._evaluate(*args, **kwargs)
        return metrics if self.averages is None else self.averages.compare(self, metrics)

    def _load_adapter(self, folder: Path) -> bool:
        module = cast(torch.nn.Module, self.model)
        adapted = find_adapted(module)
        if adapted is None:
            return False
        load_adapter_weights(adapted, folder)
        kept = load_file(folder / BESIDE) if (folder / BESIDE).is_file() else {}
        with torch.no_grad():
            for name, item in find_beside(module).items():
                item.copy_(kept[name])
        return True

    def _require_room(self) -> None:
        """Before a file is opened: the weights, and what the optimizer holds, must fit on the disk.

        Raises:
            RunError: they do not; nothing is written.
        """
        states = self.optimizer.state.values() if self.optimizer is not None else ()
        tensors = [
            *cast(torch.nn.Module, self.model).parameters(),
            *(item for state in states for item in state.values()),
        ]
        needed = sum(item.nbytes for item in tensors if isinstance(item, torch.Tensor))
        free = shutil.disk_usage(str(self.args.output_dir)).free
        if free < needed:
            raise RunError(_tell_room("the disk is full: a checkpoint", needed, free, str(self.args.output_dir)))

    def _mean_over_processes(self, loss: torch.Tensor) -> float:
        total = loss.detach().clone()
        if self.args.world_size > 1:
            torch.distributed.all_reduce(total)
        return (total / self.args.world_size).item()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Replaces the mean loss of the steps since an interruption by that of all steps."""
        if "train_loss" in logs and self._recalled:
            logs["train_loss"] = self._total_loss_scalar / max(self.state.global_step, 1)
        super().log(logs, start_time)
