"""Fine-tuning for surprisals, one training: texts, losses, optimizer, Trainer, and the best state at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, TrainerState, set_seed

from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.training_table import TrainingValues
from finetune.errors import ProblemList
from finetune.lm_experiments.batches import TextBatches
from finetune.lm_experiments.hooks import HookCallback
from finetune.lm_experiments.losses import SplitLoss
from finetune.lm_experiments.parts import ExperimentParts, find_device, open_parts
from finetune.lm_experiments.processes import gather_all, require_same_texts
from finetune.lm_experiments.settings import ExperimentSettings
from finetune.lm_experiments.tables import TrainingTables, open_training_tables
from finetune.lm_experiments.trainer import (
    SPLITS,
    BestInMemory,
    ExperimentSetup,
    ExperimentTrainer,
    Patience,
    Validation,
    collate_numbers,
)
from finetune.models.adapting import Trained, adapt_for_training
from finetune.models.saving import save_pretrained
from finetune.run.folder import TRAINER_STATE, Run
from finetune.run.launcher import is_main_process
from finetune.training.building import TrainerParts, build_trainer, train
from finetune.training.callbacks import CheckpointFiles

logger = logging.getLogger(__name__)

MODEL, TOKENIZER = "model", "tokenizer"  # folders of the result


@dataclass(frozen=True)
class TrainingResult:
    """What a training ends with: the best state, loaded, and how it came about.

    `stopped` is empty for a training that went to its end, else `patience` or `watch`.
    """

    best: Validation
    epochs: int
    stopped: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    history: list[Validation]
    parts: ExperimentParts


@dataclass
class ExperimentTask:
    """All that a training is made of, checked."""

    parts: ExperimentParts
    texts: dict[str, TextBatches]
    losses: dict[str, SplitLoss]
    adapted: Trained


def resolve_task(settings: ExperimentSettings) -> ExperimentTask:
    """Read, encode and build everything that training needs.

    Raises:
        DataError, UsageError: with every problem of the files and arguments, then of texts, labels, losses.
    """
    parts = open_parts(settings, SPLITS)
    problems = ProblemList()
    adapted = problems.attempt(adapt_for_training, parts.model, settings.adapting, seed=settings.seed)
    texts = {split: problems.attempt(parts.encode, split) for split in SPLITS}
    losses = {split: problems.attempt(parts.build_loss, split) for split in SPLITS}
    problems.attempt(parts.build_optimizer, adapted)
    problems.raise_any()
    assert adapted is not None
    found = {split: item for split, item in texts.items() if item is not None}
    tell_missing_masks(parts, found)
    return ExperimentTask(parts, found, {split: item for split, item in losses.items() if item is not None}, adapted)


def tell_missing_masks(parts: ExperimentParts, texts: dict[str, TextBatches]) -> None:
    """A masked model that is trained on texts without masks learns to repeat them."""
    mask = parts.tokenizer.mask_token_id
    if parts.task != "mlm" or mask is None:
        return
    for split, batches in texts.items():
        if not any(mask in row["input_ids"] for row in batches.rows) and not batches.recipe.per_batch:
            remedy = f"--data_preprocessing_fn.{split} mask_random_tokens hides some tokens"
            logger.warning("No %s text holds a mask: the model just repeats its input; %s.", split, remedy)


def train_once(
    settings: ExperimentSettings,
    run: Run,
    folder: Path,
    *,
    task: ExperimentTask | None = None,
    watch: Callable[[Validation], bool] | None = None,
    on_disk: bool = True,
    tables: bool = True,
) -> TrainingResult:
    """Train one model and give its best state by validation loss.

    Args:
        settings: all arguments of the training.
        run: its stop request ends training, its checkpoint is gone on from (if `on_disk`).
        folder: for checkpoints and tables.
        task: what `resolve_task` made of the same settings, not used yet; without it that is done here.
        watch: called after each look at the validation texts; True ends training.
        on_disk: keep checkpoints, so that an interrupted training goes on; else the best state is kept in memory.
        tables: write the tables and loss curves of training.

    Raises:
        DataError, UsageError: with every problem, before anything is written.
        Preempted: a signal stopped training; the state is saved if `on_disk`.
        NonFiniteError: a loss left the finite numbers.
    """
    task = task or resolve_task(settings)
    kept = open_training_tables(task.parts, task.texts, task.losses, folder) if tables else None
    setup = ExperimentSetup(
        task.parts.task,
        task.texts,
        task.losses,
        task.parts.hooks,
        settings.texts.per_device_validation_batch_size,
        observers=[kept.see] if kept else [],
        watch=watch,
    )
    memory, patience = BestInMemory(), Patience(settings.experiment.patience or 0, settings.experiment.delta)
    patience.min_epochs = settings.experiment.min_epochs
    trainer = _build_trainer(task, setup, run, folder, kept, memory=None if on_disk else memory, patience=patience)
    if not on_disk:
        run = Run(stop=run.stop)
    _train(trainer, run, patience if settings.experiment.patience else None, kept)
    memory.restore(task.parts.model)
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)  # from now on in full precision
    result = _collect(task, trainer, setup, settings, patience)
    gather_all(None)  # all have read the best checkpoint
    if kept is not None and is_main_process():
        kept.finish(whole=not on_disk)
    return result


def _build_trainer(
    task: ExperimentTask,
    setup: ExperimentSetup,
    run: Run,
    folder: Path,
    kept: TrainingTables | None,
    *,
    memory: BestInMemory | None,
    patience: Patience,
) -> ExperimentTrainer:
    settings = task.parts.settings
    callbacks: list[TrainerCallback] = [HookCallback(setup.hooks)]
    callbacks += [memory] if memory else []
    callbacks += [patience] if settings.experiment.patience else []
    callbacks += [CheckpointFiles(kept.flush)] if kept else []
    set_seed(settings.seed)
    parts = TrainerParts(
        model=task.parts.model,
        tokenizer=task.parts.tokenizer,
        collator=collate_numbers,  # type: ignore[arg-type]
        loss=task.losses["train"],
        train=list(range(len(task.texts["train"]))),  # type: ignore[arg-type]
        validation=list(range(len(task.texts["validation"]))),  # type: ignore[arg-type]
        callbacks=callbacks,
        engine=lambda **kwargs: ExperimentTrainer(setup=setup, **kwargs),
        optimizer=task.parts.build_optimizer,
        adapted=task.adapted,
    )
    values = training_values(settings, folder, on_disk=memory is None)
    require_same_texts(run, settings.texts.per_device_train_batch_size)
    trainer = build_trainer(parts, values, run, fast_path=FastPathArguments(no_fast_path=True))
    assert isinstance(trainer, ExperimentTrainer)
    return trainer


def training_values(settings: ExperimentSettings, folder: Path, *, on_disk: bool) -> TrainingValues:
    """TrainingArguments by name: no schedule and no clipping, as the document has none."""
    experiment = settings.experiment
    return {
        "output_dir": str(folder),
        "do_train": True,
        "num_train_epochs": experiment.epochs,
        "per_device_train_batch_size": settings.texts.per_device_train_batch_size,
        "gradient_accumulation_steps": experiment.gradient_accumulation_steps,
        "train_sampling_strategy": "random" if experiment.shuffle else "sequential",
        "learning_rate": float(experiment.train_optimizer_kwargs.get("lr", 0.0)),
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "logging_strategy": "epoch",
        "eval_strategy": "epoch",
        "save_strategy": "epoch" if on_disk else "no",
        "load_best_model_at_end": on_disk,
        "metric_for_best_model": "loss",
        "greater_is_better": False,
        "seed": settings.seed,
        "bf16": experiment.bf16,
        "use_cpu": find_device(settings.model.use_gpu).type == "cpu",
    }


def _train(trainer: ExperimentTrainer, run: Run, patience: Patience | None, kept: TrainingTables | None) -> None:
    """Train, or take the best state of a training whose patience was at its end when it was interrupted."""
    state = TrainerState.load_from_json(str(run.checkpoint / TRAINER_STATE)) if run.checkpoint else TrainerState()
    if kept is not None and is_main_process():
        kept.resume_from(run.checkpoint)
    if patience is not None and patience.is_exhausted(state):
        trainer.state = state
        trainer._load_best_model()
        return
    train(trainer, run)


def _collect(
    task: ExperimentTask,
    trainer: ExperimentTrainer,
    setup: ExperimentSetup,
    settings: ExperimentSettings,
    patience: Patience,
) -> TrainingResult:
    history = list_validations(trainer.state, setup)
    best = min(history, key=lambda seen: seen.loss)
    setup.observers.clear()
    if not len(best.example_losses):  # it was seen before the run was interrupted
        best = replace(best, example_losses=trainer.validate(best.epoch).example_losses)
    stopped = "watch" if setup.stopped_by_watch else ""
    if not stopped and settings.experiment.patience and patience.is_exhausted(trainer.state):
        stopped = "patience"
        asked = settings.experiment
        found = f"Validation loss has not improved by {asked.delta:g} in {asked.patience} epochs."
        logger.info("%s Halting training at epoch %d.", found, len(history))
    logger.info("The best state is that of epoch %d, validation loss %.6g.", best.epoch, best.loss)
    return TrainingResult(
        best, len(history), stopped, task.parts.model, task.parts.tokenizer, history, parts=task.parts
    )


def list_validations(state: TrainerState, setup: ExperimentSetup) -> list[Validation]:
    """Every look at the validation texts; of those before an interruption the log knows all but the rows' losses."""
    seen = {validation.epoch: validation for validation in setup.history}
    names = setup.losses["validation"].losses
    found = []
    for entry in state.log_history:
        if "eval_loss" in entry:
            epoch = max(round(entry["epoch"]), 1)
            losses = {name: entry[f"eval_{name}"] for name in names}
            found.append(seen.get(epoch, Validation(epoch, entry["eval_loss"], losses, np.zeros(0))))
    return found


def save_trained_model(result: TrainingResult, folder: Path) -> None:
    """`model/`, which is a whole model folder, and `tokenizer/`."""
    save_pretrained(result.model, result.tokenizer, folder / MODEL)
    result.tokenizer.save_pretrained(folder / TOKENIZER)
