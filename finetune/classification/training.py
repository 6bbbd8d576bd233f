"""Classification of whole texts: its Trainer, what is saved of it, and what `--dry_run` shows."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from transformers import Trainer, set_seed

from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.model import ModelArguments
from finetune.classification.column_choice import ProblemType
from finetune.classification.decisions import fit_decision, plain_decision
from finetune.classification.evaluation import Outputs, Score, build_text_metrics
from finetune.classification.losses import (
    SequenceEvaluationLoss,
    SequenceLoss,
    balance_positive_weights,
)
from finetune.classification.task import TASK, ClassificationTask
from finetune.classification.thresholds import ThresholdScope
from finetune.data.class_weights import read_class_weights
from finetune.encoding.padding import IGNORED
from finetune.models.loading import load_model
from finetune.models.settings import ClassifierSettings
from finetune.run.folder import Run
from finetune.training.building import TrainerParts, build_trainer
from finetune.training.collators import ClassificationCollator
from finetune.training.dry_run import estimate_plan, format_plan
from finetune.training.losses import balance_class_weights, take_label_smoothing

logger = logging.getLogger(__name__)

EXAMPLES_SHOWN, SUBWORDS_SHOWN = 3, 40


def build_classification_trainer(task: ClassificationTask, run: Run) -> Trainer:
    """Load the model and build the Trainer of this task."""
    set_seed(int(task.arguments.get("seed", 42)))  # the new head is drawn here
    model = load_model(task.arguments[ModelArguments], task.config, task.tokenizer, task=TASK, new_head=task.new_head)
    smoothing, values = take_label_smoothing(task.values)
    loss = SequenceLoss(task.problem_type.value, resolve_class_weights(task), smoothing, task.options.focal_gamma)
    validation = task.encoded.get("validation")
    padded = task.settings.max_length if task.options.pad_to_max_length else None
    parts = TrainerParts(
        model=model,
        tokenizer=task.tokenizer,
        collator=ClassificationCollator.for_tokenizer(task.tokenizer, max_length=padded),
        loss=loss,
        train=task.encoded["train"].dataset if "train" in task.encoded else None,
        validation=None if validation is None else validation.dataset,
        compute_metrics=None if validation is None else build_text_metrics(validation, build_score(task)),
        evaluation=SequenceEvaluationLoss(loss),
        sparse_embedding=True,
    )
    fast_path = task.arguments[FastPathArguments]
    return build_trainer(parts, values, run, patience=task.options.early_stopping_patience, fast_path=fast_path)


def build_score(task: ClassificationTask) -> Score:
    """Scores during training. Thresholds of several labels are fitted anew each time: validation is there for that."""
    plain, scope = plain_decision(task.problem_type, task.labels), ThresholdScope(task.options.thresholds)

    def score(outputs: Outputs, expected: Any) -> dict[str, float]:
        decision = fit_decision(outputs, expected, plain, scope=scope)
        return task.scoring.score(decision.decide(outputs), expected)

    return score


def resolve_class_weights(task: ClassificationTask) -> list[float] | None:
    """`--class_weights balanced` from the training labels, or as a file says."""
    asked = task.options.class_weights
    if asked is None or task.problem_type is ProblemType.REGRESSION:
        return None
    if asked != "balanced":
        weights = read_class_weights(Path(asked), task.labels)
    elif task.problem_type is ProblemType.MULTI:
        weights = balance_positive_weights(task.encoded["train"].labels)
    else:
        weights = balance_class_weights(task.encoded["train"].labels, len(task.labels))
    shown = ", ".join(f"{label} {weight:.3g}" for label, weight in zip(task.labels, weights, strict=True))
    logger.info("Class weights: %s.", shown)
    return weights


def save_classifier(trainer: Trainer, settings: ClassifierSettings) -> None:
    """Model, tokenizer, and how texts become its input: all that `predict.py` needs to do the same."""
    folder = Path(str(trainer.args.output_dir))
    trainer.save_model(str(folder))
    if trainer.is_world_process_zero():
        settings.save(folder)


def show_plan(trainer: Trainer, task: ClassificationTask) -> dict[str, Any]:
    """`--dry_run`: print examples and the estimate; returns the estimate for the last line."""
    split = next(iter(task.encoded))
    print(format_examples(task, split))
    if trainer.train_dataset is None:
        return {"dry_run": True}
    plan = estimate_plan(trainer)
    print(format_plan(plan))
    return {"dry_run": True, **asdict(plan)}


def format_examples(task: ClassificationTask, split: str) -> str:
    """The first texts of a split as the model sees them, with their labels."""
    encoded, lines = task.encoded[split], []
    for number in range(min(EXAMPLES_SHOWN, len(encoded.dataset))):
        row = encoded.dataset[number]
        subwords = task.tokenizer.convert_ids_to_tokens(row["input_ids"])
        more = " ..." if len(subwords) > SUBWORDS_SHOWN else ""
        label = format_label(task, encoded.labels[encoded.examples[number]])
        lines += [
            f"Example {number + 1}: {len(subwords)} subwords, {label}",
            f"  {' '.join(subwords[:SUBWORDS_SHOWN])}{more}",
        ]
    return "\n".join(lines)


def format_label(task: ClassificationTask, label: Any) -> str:
    if np.any(np.asarray(label) == IGNORED):
        return "no label"
    if task.problem_type is ProblemType.REGRESSION:
        return f"value {float(label):g}"
    chosen = np.flatnonzero(label).tolist() if task.problem_type is ProblemType.MULTI else [int(label)]
    return "label " + (", ".join(task.labels[index] for index in chosen) or "none")
