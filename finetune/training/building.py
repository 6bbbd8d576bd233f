"""The one place where TrainingArguments and Trainer are built.

`transformers.Trainer` is the engine. What is ours enters by its own extension points: `compute_loss_func` (losses
divided by the global number of items), `preprocess_logits_for_metrics` (no logits kept), callbacks.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import datasets
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from finetune.arguments.averaging import AveragingArguments
from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.groups import Adapting
from finetune.arguments.training_table import TrainingValues
from finetune.errors import Preempted, Problem, UsageError
from finetune.models.adapting import Trained, adapt_for_training
from finetune.models.prediction import tell_missing_gpus
from finetune.run.failures import first_line
from finetune.run.folder import Run
from finetune.run.garbage import collect_as_usual
from finetune.training.averaging import Averages
from finetune.training.batch_parts import cut_batches
from finetune.training.callbacks import (
    CheckpointFiles,
    CheckpointKeeper,
    EarlyStopping,
    GracefulStop,
    LogLine,
    NonFiniteGuard,
    ProgressBar,
)
from finetune.training.evaluation_lines import build_evaluation_lines
from finetune.training.fast_path import prepare_model, prepare_trainer, resolve_precision
from finetune.training.global_batch import require_same_batch
from finetune.training.history import Progress, write_history
from finetune.training.losses import EvaluationLoss, TokenLoss
from finetune.training.optimizers import APEX_OPTIMIZER, find_apex_optimizer
from finetune.training.parameter_groups import Unfreezing, needs_groups
from finetune.training.settled import record_arguments, record_choice
from finetune.training.sharding import (
    check_sharding,
    choose_units,
    require_same_rows,
    require_sharded,
    without_fast_path,
)
from finetune.training.token_rate import TokenRate
from finetune.training.trackers import prepare_trackers
from finetune.training.trainer import FinetuneTrainer
from finetune.training.unattended import build_unattended, count_passed_over
from finetune.training.whole_evaluation import resolve_evaluation

logger = logging.getLogger(__name__)

MISSING = "There were missing keys in the checkpoint model loaded"

CHECKPOINTS_KEPT = 2  # the best and the last


@dataclass
class TrainerParts:
    """What a task hands over for its Trainer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    collator: Callable[[list[dict[str, Any]]], dict[str, Any]]
    loss: TokenLoss
    train: datasets.Dataset | None = None
    validation: datasets.Dataset | None = None
    compute_metrics: Callable[..., dict[str, float]] | None = None
    callbacks: list[TrainerCallback] = field(default_factory=list)
    sparse_embedding: bool = False  # only the rows of `train` reach the embedding: no collator replaces ids
    evaluation: Callable[..., Any] | None = None  # what is kept of logits and labels; without it, as `EvaluationLoss`
    engine: Callable[..., FinetuneTrainer] = FinetuneTrainer
    optimizer: Callable[[Trained], torch.optim.Optimizer] | None = None  # without it, as TrainingArguments say
    adapted: Trained | None = None  # `model`, where it was adapted for training already


def build_training_arguments(values: TrainingValues) -> TrainingArguments:
    """The real object, built late: only now are torch and the device known.

    Raises:
        UsageError: transformers refuses the combination; its reason is passed on in one sentence.
    """
    if problems := check_sharding(values):
        raise UsageError(*problems)
    settled: dict[str, Any] = {
        "report_to": "none",
        "dataloader_pin_memory": torch.accelerator.is_available(),
        "use_cpu": not torch.accelerator.is_available(),  # transformers refuses bf16 on a CPU that was not asked for
        "disable_tqdm": not sys.stderr.isatty(),
        **values,
        "logging_nan_inf_filter": False,  # a loss that is not finite ends the run (NonFiniteGuard), it is not hidden
        "auto_find_batch_size": False,  # it would change the effective batch: `batch_parts.py`
        "push_to_hub": False,  # once, of a finished run: `run/hub.py`
        "remove_unused_columns": False,  # the collators choose the columns
        "save_total_limit": None,  # CheckpointKeeper deletes, after the new checkpoint is known to be whole
    }
    if settled.get("optim") == APEX_OPTIMIZER:
        settled.pop("optim")
    if token := settled.pop("hub_token", None):
        os.environ["HF_TOKEN"] = (
            token  # the hub's own variable: every model folder has these arguments in training_args.bin
        )
    with refusing(ValueError, TypeError, ImportError, RuntimeError):
        return TrainingArguments(**settled)


@contextmanager
def refusing(*errors: type[Exception]) -> Iterator[None]:
    """What transformers finds wrong with the arguments, in one sentence.

    Raises:
        UsageError: one of `errors` was raised.
    """
    try:
        yield
    except errors as error:
        raise UsageError(
            Problem(f"these training arguments do not go together: {first_line(error).rstrip('.')}")
        ) from error


def build_trainer(
    parts: TrainerParts,
    values: TrainingValues,
    run: Run,
    *,
    patience: int | None = None,
    fast_path: FastPathArguments | None = None,
) -> FinetuneTrainer:
    """Build the Trainer of one run.

    Args:
        parts: model, data and loss of the task.
        values: settled TrainingArguments by name (see `training/evaluation_schedule.py`).
        run: its stop request ends training at the next step.
        patience: evaluations without improvement after which training stops.
        fast_path: what of it is switched off; None leaves all of it on.
    """
    collect_as_usual()
    fast_path = fast_path or FastPathArguments()
    configs = [module.config for module in parts.model.modules() if isinstance(module, PreTrainedModel)]
    values = resolve_evaluation(resolve_precision(values, fast_path, configs))
    arguments = build_training_arguments(values)
    if arguments.fsdp:
        require_sharded(arguments, parts.model, run.adapting, fast_path)
        fast_path = without_fast_path(fast_path)
    record_arguments(run, arguments)
    require_same_batch(run, arguments)
    prepare_trackers(arguments)
    trained = parts.train if values.get("do_train", True) else None
    adapted = parts.adapted or adapt(parts.model, values, run)
    prepare_model(
        parts.model,
        fast_path,
        values,
        train=trained,
        sparse_embedding=parts.sparse_embedding,
        special_ids=parts.tokenizer.all_special_ids,
    )
    require_same_rows(run, parts.model)
    averages = build_averages(adapted.asked.averaging, run)
    callbacks: list[TrainerCallback] = [
        *build_unattended(run.unattended, parts.loss, str(values.get("save_strategy", "no"))),
        NonFiniteGuard(parts.loss),
        GracefulStop(run.stop),
        *parts.callbacks,
        *([averages, CheckpointFiles(averages.save)] if averages else []),
        *([Unfreezing(moment, adapted.frozen)] if (moment := adapted.asked.rates.unfreezing) else []),
        CheckpointKeeper(values.get("save_total_limit") or CHECKPOINTS_KEPT),
        *([EarlyStopping(patience)] if patience else []),
        *build_evaluation_lines(),
    ]
    relay_trainer_log(parts.model)
    log_arguments(arguments)
    with refusing(ValueError, ImportError):
        trainer = parts.engine(
            model=parts.model,
            args=arguments,
            data_collator=parts.collator,
            train_dataset=parts.train,
            eval_dataset=parts.validation,
            processing_class=parts.tokenizer,
            compute_loss_func=parts.loss,
            compute_metrics=parts.compute_metrics,
            preprocess_logits_for_metrics=cast(Any, parts.evaluation or EvaluationLoss(parts.loss)),
            callbacks=callbacks,
            optimizers=(parts.optimizer(adapted) if parts.optimizer else None, None),
            optimizer_cls_and_kwargs=None if parts.optimizer else find_apex_optimizer(arguments, values.get("optim")),
        )
    trainer.adapted, trainer.averages = adapted, averages
    choose_units(trainer)
    if needs_groups(adapted) and parts.optimizer is None:
        trainer.find_optimizer(parts.model)
    if values.get("auto_find_batch_size"):
        trainer.batch_parts = cut_batches(trainer)
    prepare_trainer(trainer, fast_path)
    log_in_full(trainer)
    trainer.token_rate = TokenRate(parts.model)
    trainer.callback_handler.callbacks.insert(0, trainer.token_rate)
    return trainer


def adapt(module: torch.nn.Module, values: TrainingValues, run: Run) -> Trained:
    """Change the model as the run asks, if it is to be trained.

    Raises:
        UsageError: with everything that cannot be done with this model.
    """
    scores_only = bool(values.get("do_eval") or values.get("do_predict"))
    if values.get("do_train", not scores_only):
        return adapt_for_training(module, run.adapting, seed=int(values.get("seed") or 42))
    if idle := run.adapting.flags():
        logger.warning("Nothing is trained; without effect: %s.", ", ".join(idle))
    return adapt_for_training(module, Adapting(), seed=0)


def build_averages(asked: AveragingArguments, run: Run) -> Averages | None:
    return Averages(asked, run.stop) if asked.ema is not None or asked.average_last is not None else None


def log_in_full(trainer: Trainer) -> None:
    """Metrics as `LogLine` writes them, to the log; transformers' own callbacks write them rounded, to standard output."""
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(ProgressBar)
    trainer.callback_handler.callbacks.insert(0, LogLine())


def log_arguments(arguments: TrainingArguments) -> None:
    """The two lines that every script of transformers begins with, and one where GPUs were asked for and are not there."""
    tell_missing_gpus()
    logger.warning(
        "Process rank: %s, device: %s, n_gpu: %s, distributed training: %s, 16-bits training: %s",
        arguments.process_index if arguments.world_size > 1 else -1,
        arguments.device,
        arguments.n_gpu,
        arguments.world_size > 1,
        arguments.fp16 or arguments.bf16,
    )
    shown = ", ".join(f"{name}={value!r}" for name, value in sorted(arguments.to_dict().items()) if "token" not in name)
    logger.info("Training/evaluation parameters TrainingArguments(%s)", shown)


class TrainerLogRelay(logging.Handler):
    """Passes on the Trainer's own lines (`***** Running training *****`, `Saving model checkpoint to`) as ours.

    Once the best checkpoint is loaded the Trainer warns that weights are missing which are kept once, under the name
    of the one they are tied to; that line alone is left out.
    """

    def __init__(self, tied: Iterable[str]) -> None:
        super().__init__()
        self.tied = frozenset(tied)

    def emit(self, record: logging.LogRecord) -> None:
        for line in record.getMessage().strip().splitlines():
            if line.strip() and "share your model" not in line and not self.lacks_tied_only(line):
                logger.log(record.levelno, "%s", line)

    def lacks_tied_only(self, line: str) -> bool:
        lacking = set(re.findall(r"'([^']+)'", line)) if line.startswith(MISSING) else set()
        return bool(lacking) and lacking <= self.tied


class SavedLines(logging.Filter):
    """Passes on `Configuration saved in` and `Model weights saved in`; of the rest of these modules only warnings pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            return True
        message = record.getMessage()
        if message.startswith(("Configuration saved in", "Model weights saved in")):
            logger.info("%s", message)
        return False


def relay_trainer_log(model: object) -> None:
    """Let the Trainer's lines into our log, whatever transformers' own verbosity is."""
    for name in ("transformers.configuration_utils", "transformers.modeling_utils"):
        saving = logging.getLogger(name)
        saving.setLevel(logging.INFO)
        if not any(isinstance(item, SavedLines) for item in saving.filters):
            saving.addFilter(SavedLines())
    source = logging.getLogger("transformers.trainer")
    source.setLevel(logging.INFO)
    source.propagate = False
    for handler in [handler for handler in source.handlers if isinstance(handler, TrainerLogRelay)]:
        source.removeHandler(handler)
    source.addHandler(TrainerLogRelay(getattr(model, "all_tied_weights_keys", None) or ()))


def train(trainer: Trainer, run: Run) -> dict[str, float]:
    """Train, from the run's newest whole checkpoint where there is one; returns the Trainer's own train metrics.

    Raises:
        Preempted: a signal stopped training; a checkpoint was saved.
        NonFiniteError: the loss left the finite numbers.
    """
    checkpoint = None if run.checkpoint is None else str(run.checkpoint)
    if checkpoint:
        trainer.args.eval_on_start = False  # it was, at its start
    trainer.add_callback(Progress(run))
    with run.stop.deferred():
        result = trainer.train(resume_from_checkpoint=checkpoint)
        if run.stop.requested:
            step = trainer.state.global_step
            by = run.stop.signal_name
            raise Preempted(f"stopped by {by} at step {step}, state saved: run the same command again to go on")
    logger.info(" global_step = %d, average loss = %.6g", trainer.state.global_step, result.training_loss)
    write_history(run, trainer)
    tell_best(trainer)
    if passed_over := count_passed_over(trainer.state):
        logger.warning("%d of %d steps changed nothing: no finite numbers.", passed_over, trainer.state.global_step)
        run.record(steps_passed_over=passed_over)
    record_choice(run, trainer)
    record_rate(run, trainer)
    return result.metrics


def record_rate(run: Run, trainer: Trainer) -> None:
    """`tokens_per_second` and `mfu` of run.json and the last line."""
    rate = getattr(trainer, "token_rate", None)
    if rate is not None and (overall := rate.overall):
        run.record(**overall)


def tell_best(trainer: Trainer) -> None:
    best = trainer.state.best_model_checkpoint
    if trainer.args.load_best_model_at_end and best:
        name, value = trainer.args.metric_for_best_model, trainer.state.best_metric
        logger.info("The best checkpoint by validation %s (%.6g) is %s.", name, value, Path(best).name)
