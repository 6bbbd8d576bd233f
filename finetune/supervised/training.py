"""Load, adapt, train, save: the one way from a task that learns from labels to its model on disk."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from torch import nn

from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.model import ModelArguments
from finetune.arguments.run import RunArguments
from finetune.data.class_weights import read_class_weights
from finetune.models.building import build_model
from finetune.models.settings import SavedSettings
from finetune.run.folder import Run
from finetune.supervised.task import SupervisedTask
from finetune.training.building import build_trainer
from finetune.training.dry_run import estimate_plan, format_plan
from finetune.training.losses import TokenLoss, take_label_smoothing
from finetune.training.regularizing import ConsistentAnswers, MovedEmbeddings, check_regularizing
from finetune.training.saving import save_trained
from finetune.training.settled import without_secrets
from finetune.training.trainer import FinetuneTrainer

logger = logging.getLogger(__name__)


def build_supervised_trainer(task: SupervisedTask, run: Run) -> FinetuneTrainer:
    """Load and adapt the model, and build the Trainer of this task."""
    arguments = task.arguments
    model = build_model(
        arguments[ModelArguments],
        task.config,
        task.tokenizer,
        task=task.head,
        new_head=task.new_head,
        seed=int(arguments.get("seed", 42)),
    )
    _, values = take_label_smoothing(task.values)  # the loss of the task smooths
    if arguments[RunArguments].dry_run:
        values["output_dir"] = tempfile.gettempdir()  # the Trainer makes its folder; a dry run leaves none
    patience = task.options.early_stopping_patience
    parts = task.build_parts(model)
    trainer = build_trainer(parts, values, run, patience=patience, fast_path=arguments[FastPathArguments])
    regularize(trainer, task, parts.loss)
    run.record_effective({**arguments.effective(), **without_secrets(trainer.args)})
    return trainer


def regularize(trainer: FinetuneTrainer, task: SupervisedTask, loss: TokenLoss) -> None:
    """`--r_drop` and `--fgm`, where they are asked for."""
    r_drop, fgm = task.options.r_drop, task.options.fgm
    check_regularizing(r_drop, fgm, cast(nn.Module, trainer.model))
    if r_drop:
        trainer.consistent = ConsistentAnswers(r_drop, loss)
    if fgm:
        trainer.moved = MovedEmbeddings(fgm)


def open_class_weights(asked: str | None, labels: list[str]) -> list[float] | None:
    """The weights of `--class_weights FILE` in the order of `labels`; None for `balanced`, or without the flag."""
    return None if asked in (None, "balanced") else read_class_weights(Path(str(asked)), labels)


def resolve_class_weights(task: SupervisedTask) -> list[float] | None:
    """`--class_weights balanced` from the training labels, or as a file says."""
    if task.options.class_weights is None:
        return None
    weights = task.class_weights or task.balance_weights()
    shown = ", ".join(f"{label} {weight:.3g}" for label, weight in zip(task.labels, weights, strict=True))
    logger.info("Class weights: %s.", shown)
    return weights


def save_supervised(trainer: FinetuneTrainer, task: SupervisedTask, settings: SavedSettings | None = None) -> None:
    """Model, tokenizer and settings; what is saved is the best by validation, as the Trainer has loaded it."""
    save_trained(trainer, settings or task.make_settings())


def show_estimate(trainer: FinetuneTrainer, task: SupervisedTask) -> dict[str, Any]:
    """`--dry_run`: print examples and the estimate; returns the estimate for the last line."""
    print(task.format_examples())
    if trainer.train_dataset is None:
        return {"dry_run": True}
    plan = estimate_plan(trainer)
    print(format_plan(plan))
    return {"dry_run": True, **asdict(plan)}
