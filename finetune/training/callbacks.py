"""What happens around the training loop, as transformers callbacks: logging, stopping, checkpoints on disk."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ProgressCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from finetune.errors import NonFiniteError
from finetune.run.checkpoints import delete, is_off_schedule, list_checkpoints, mark_complete, remove_outlived
from finetune.run.signals import StopRequest
from finetune.training.losses import TokenLoss
from finetune.training.resuming import EndsTraining, InterruptsTraining

logger = logging.getLogger(__name__)


class LogLine(TrainerCallback):
    """One line a log event, numbers in full: `{'loss': 0.4661, 'learning_rate': 5e-05, 'epoch': 0.628930817610}`.

    The learning rate is that of the next step, as transformers 2 to 4 logged it (step 50 of 100 of warm-up to 5e-5:
    2.5e-05) and as every published log has it; transformers 5 logs that of the step before. Comes before the callbacks
    that report elsewhere, so that all say the same.
    """

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs = kwargs["logs"]
        if "learning_rate" in logs and kwargs.get("optimizer") is not None:
            logs["learning_rate"] = state.log_history[-1]["learning_rate"] = read_rate(kwargs["optimizer"])
        if state.is_world_process_zero:
            logger.info("%s", {name: value for name, value in logs.items() if name != "total_flos"})


class ProgressBar(ProgressCallback):
    """transformers' bar without its on_log, which would write the metrics to standard output, rounded."""

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: object
    ) -> None:
        return


def read_rate(optimizer: Any) -> float:
    """The learning rate of the next step, of the first parameter group."""
    rate = optimizer.param_groups[0]["lr"]
    return rate.item() if isinstance(rate, torch.Tensor) else float(rate)


def sum_over_processes(value: float, args: TrainingArguments) -> float:
    """The sum of a number over all processes of this training, which all ask for it at the same time."""
    if args.world_size == 1:
        return value
    total = torch.tensor(float(value), device=args.device)
    torch.distributed.all_reduce(total)
    return total.item()


class GracefulStop(InterruptsTraining):
    """Save at the end of the running step and stop, once a signal asked for it: all processes in the same step.

    A signal reaches them at different moments, or one alone; whoever went on would wait for the others for ever. What an
    epoch ends with is left to the start that goes on: an epoch that is cut off has no end, and time is short.
    """

    def __init__(self, stop: StopRequest) -> None:
        self.stop = stop
        self.agreed = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if sum_over_processes(self.stop.requested, args):
            self.stop.join()
            self.off_schedule = not control.should_save
            self.agreed = control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Only now: the checkpoint holds what `control` says, and is to be the one of an undisturbed run."""
        control.should_training_stop = control.should_training_stop or self.agreed

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.agreed:
            self.stop.hold()  # the state is saved
            control.should_log = control.should_evaluate = control.should_save = False


class NonFiniteGuard(TrainerCallback):
    """End the run when the loss is no finite number, before anything of it is logged, chosen or saved.

    On a GPU the device is only waited for at steps that log, evaluate or save anyway. All processes end together,
    whichever has found it.
    """

    def __init__(self, loss: TokenLoss) -> None:
        self.loss = loss

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        waits_anyway = control.should_log or control.should_evaluate or control.should_save
        if args.device.type != "cpu" and not waits_anyway:
            return
        value = sum_over_processes(self.loss.take_non_finite() or 0.0, args)
        if not math.isfinite(value):
            raise NonFiniteError("the training loss", value, state.global_step)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        value = kwargs["metrics"].get("eval_loss", 0.0)
        if not math.isfinite(value):
            raise NonFiniteError("the validation loss", value, state.global_step)


class CheckpointFiles(TrainerCallback):
    """Put files of the task into every checkpoint before it is marked as whole, so that it serves as a model folder."""

    def __init__(self, *writers: Callable[[Path], Any]) -> None:
        self.writers = writers

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        if state.is_world_process_zero and args.output_dir is not None:
            for write in self.writers:
                write(Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")


class CheckpointKeeper(TrainerCallback):
    """Mark a checkpoint as whole once all its files are written, then delete older ones: the best and the newest stay.

    transformers would delete before the new checkpoint is known to be whole; a kill in between would leave none. So its
    own rotation is off (`save_total_limit=None`) and the limit is applied here. A checkpoint of an interruption counts for
    nothing: it drives no other away, and goes as soon as a later one is whole.
    """

    def __init__(self, limit: int) -> None:
        self.limit = max(limit, 1)
        self._off_schedule: dict[Path, bool] = {}  # by checkpoint: the states of long trainings are long to read

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """A kill may have come when the newest checkpoint, which is gone on from, was whole and older ones not yet gone."""
        if not state.is_world_process_zero or args.output_dir is None or not state.global_step:
            return
        folder = Path(args.output_dir)
        if f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}" in [path.name for path in list_checkpoints(folder)[-1:]]:
            self.delete_superfluous(folder, state)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        PartialState().wait_for_everyone()  # every process has written its random state by then
        if state.is_world_process_zero and args.output_dir is not None:
            self.keep(Path(args.output_dir), state)
        PartialState().wait_for_everyone()  # the launcher ends all processes once the first has ended

    def keep(self, folder: Path, state: TrainerState) -> None:
        mark_complete(folder / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
        self.delete_superfluous(folder, state)
        remove_outlived(folder)

    def delete_superfluous(self, folder: Path, state: TrainerState) -> None:
        for old in self.find_superfluous(folder, state):
            delete(old)

    def find_superfluous(self, folder: Path, state: TrainerState) -> list[Path]:
        """Checkpoints beyond the limit, oldest first; never the best, never the newest."""
        found = list_checkpoints(folder)
        for path in found:
            if path == found[-1] or path not in self._off_schedule:
                self._off_schedule[path] = is_off_schedule(path)
        extra = [path for path in found if self._off_schedule[path]]
        checkpoints = [path for path in found if path not in extra]
        best = Path(state.best_model_checkpoint).name if state.best_model_checkpoint else ""
        others = [path for path in checkpoints if path.name != best]
        room = max(self.limit - (len(others) < len(checkpoints)), 1)
        return [*others[: max(len(others) - room, 0)], *(path for path in extra if path != found[-1])]


class EarlyStopping(EndsTraining):
    """Stop after `patience` evaluations without an improvement of more than `threshold`.

    Counts from the log history that every checkpoint holds, so that a resumed run stops where an undisturbed one would.
    """

    def __init__(self, patience: int, threshold: float = 0.0) -> None:
        self.patience, self.threshold = patience, threshold

    def has_ended(self, args: TrainingArguments, state: TrainerState) -> bool:
        """Whether the newest `patience` validation scores all failed to beat the best before them."""
        name = args.metric_for_best_model or "loss"
        key = name if name.startswith("eval_") else f"eval_{name}"
        sign = 1.0 if args.greater_is_better else -1.0
        best, waited = -math.inf, 0
        for value in (entry[key] * sign for entry in state.log_history if key in entry):
            waited = 0 if value > best + self.threshold else waited + 1
            best = max(best, value)
        return waited >= self.patience

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if self.has_ended(args, state):
            logger.info("No improvement in %d evaluations: training ends at step %d.", self.patience, state.global_step)
            control.should_training_stop = True
