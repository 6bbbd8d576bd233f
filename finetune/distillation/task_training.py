"""Distilling a tagger or a classifier, step by step: from both models to a trained student on disk."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import Trainer, set_seed

from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.run import RunArguments
from finetune.arguments.training_table import TrainingValues
from finetune.classification import results as classification_results
from finetune.classification.decisions import Decision
from finetune.classification.results import find_headline
from finetune.classification.task import ClassificationTask
from finetune.distillation.collators import DistillationClassificationCollator, DistillationTaggingCollator
from finetune.distillation.export import begin_run, list_losses, write_export
from finetune.distillation.log import DistillationLog
from finetune.distillation.model import Weights
from finetune.distillation.task import SupervisedDistillation
from finetune.distillation.task_arguments import TaskLossArguments
from finetune.distillation.task_model import TaskDistillation, TaskDistillationLoss, count_decisions
from finetune.distillation.teacher_cache import CacheRequest, prepare_caches
from finetune.distillation.teacher_cache_files import TeacherRows
from finetune.errors import Problem, UsageError
from finetune.models.saving import save_pretrained
from finetune.models.settings import SavedSettings
from finetune.run.folder import Run
from finetune.supervised.results import make_card
from finetune.tagging import results as tagging_results
from finetune.tagging.task import TaggingTask
from finetune.training.building import TrainerParts, build_trainer
from finetune.training.callbacks import CheckpointFiles
from finetune.training.fast_path import prepare_frozen_model, resolve_precision
from finetune.training.losses import take_label_smoothing
from finetune.training.trainer import FinetuneTrainer

logger = logging.getLogger(__name__)

CARD_FACTS = ("num_train_epochs", "max_steps", "learning_rate", "per_device_train_batch_size", "seed")


def build_distillation_trainer(distilled: SupervisedDistillation, run: Run) -> FinetuneTrainer:
    """Student and teacher as one module under the shared Trainer, scored as the task's own command scores."""
    fast_path, task = distilled.arguments[FastPathArguments], distilled.task
    _, values = take_label_smoothing(task.values)  # the loss of the task smooths
    configs = [distilled.student.config, distilled.teacher.config]
    values = resolve_precision({**values, "label_names": ["labels"]}, fast_path, configs)
    if distilled.arguments[RunArguments].dry_run:
        values["output_dir"] = tempfile.gettempdir()  # the Trainer makes its folder; a dry run leaves none
    module = build_module(distilled, values)
    parts = build_parts(distilled, task, module)
    folder = Path(str(values["output_dir"]))
    parts.callbacks += [
        CheckpointFiles(distilled.student.config.save_pretrained, find_settings(distilled).save),
        DistillationLog(folder, cast(TaskDistillationLoss, parts.loss), examples=len(distilled.train)),
    ]
    trainer = build_trainer(parts, values, run, patience=task.options.early_stopping_patience, fast_path=fast_path)
    if trainer.args.n_gpu > 1:
        found = f"{trainer.args.n_gpu} GPUs are visible to one process"
        raise UsageError(
            Problem(found, remedy="drop --multi_gpu off or --nproc 1, so that each GPU has a process of its own")
        )
    trainer.count_items = count_decisions
    return trainer


def build_module(distilled: SupervisedDistillation, values: TrainingValues) -> TaskDistillation:
    weights, options = Weights(**distilled.losses.alphas()), distilled.arguments[FastPathArguments]
    teacher_dtype = prepare_frozen_model(distilled.teacher, options, values, reads_layers=weights.reads_layers)
    set_seed(int(distilled.arguments.get("seed", 42)))  # the projections are drawn here
    return TaskDistillation(
        distilled.student,
        distilled.teacher,
        weights,
        problem_type=distilled.problem_type,
        temperature=distilled.losses.temperature,
        relation_heads=distilled.losses.relation_heads,
        teacher_dtype=teacher_dtype,
    )


def build_parts(
    distilled: SupervisedDistillation, task: TaggingTask | ClassificationTask, module: TaskDistillation
) -> TrainerParts:
    """What the task's own command trains with, for student and teacher together."""
    parts = task.build_parts(cast(Any, module))
    is_tagging = isinstance(task, TaggingTask)
    collator = DistillationTaggingCollator if is_tagging else DistillationClassificationCollator
    return replace(
        parts,
        collator=collator.for_tokenizer(task.tokenizer, max_length=task.padded_length),
        loss=TaskDistillationLoss(module.weights, cast(Any, parts.loss)),
        train=distilled.train,
        callbacks=[],
    )


def find_settings(distilled: SupervisedDistillation, decision: Decision | None = None) -> SavedSettings:
    """How text becomes the student's input, as the task's own command saves it."""
    task = distilled.task
    if isinstance(task, TaggingTask):
        return task.make_settings()
    return task.settings if decision is None else classification_results.add_decision(task.settings, decision)


def start_run(run: Run, distilled: SupervisedDistillation) -> None:
    """Begin to write; the inputs are those whose fingerprints the manifest keeps."""
    inputs = [*(path for paths in distilled.task.corpus.files.values() for path in paths), *distilled.files]
    begin_run(run, inputs, distilled.arguments.effective(), distilled.student)


def prepare_teacher(distilled: SupervisedDistillation, trainer: Trainer) -> None:
    """`--cache_teacher`: the teacher answers once before training, and is not asked again."""
    losses = distilled.losses
    if losses.cache_teacher is None:
        return
    rows = TeacherRows(distilled.train)
    request = CacheRequest(
        Path(losses.teacher_cache_dir or f"{trainer.args.output_dir}.taught"),
        count=losses.cache_teacher,
        answers=len(distilled.task.labels),
        temperature=losses.temperature,
        facts={"task": distilled.asked.task, "rows": hash_rows(distilled)},
        numbers_of=count_in_loss_mask,
        per_epoch=False,
    )
    prepare_caches(trainer, cast(TaskDistillation, trainer.model), rows, request, epochs=1)
    trainer.train_dataset = cast(Any, rows)


def hash_rows(distilled: SupervisedDistillation) -> str:
    """Of all ids that student and teacher read, and where they are asked."""
    table, digest = distilled.train.with_format("arrow")[:], hashlib.sha256()
    for name in ("input_ids", "token_type_ids", "word_positions"):
        if name in table.column_names:
            column = table[name].combine_chunks()
            digest.update(column.flatten().to_numpy().tobytes() + column.value_lengths().to_numpy().tobytes())
    return digest.hexdigest()


def count_in_loss_mask(batch: Any) -> list[int]:
    """How many places of each row of a batch decide, (rows,)."""
    loss_mask: torch.Tensor = batch["loss_mask"]
    return loss_mask.reshape(len(loss_mask), -1).sum(1).tolist()


def save_student(trainer: Trainer, distilled: SupervisedDistillation, decision: Decision | None = None) -> None:
    """The student alone, with tokenizer and settings: what `predict.py` serves."""
    if not trainer.is_world_process_zero():
        return
    folder = Path(str(trainer.args.output_dir))
    save_pretrained(distilled.student, distilled.task.tokenizer, folder, find_settings(distilled, decision))
    logger.info("Training is finished")


def export_student(
    trainer: Trainer, distilled: SupervisedDistillation, results: dict[str, Any], decision: Decision | None = None
) -> dict[str, Any]:
    """`--export`: the student with a card of its scores, size and speed; returns metrics for the last line."""
    if not distilled.asked.export or not trainer.is_world_process_zero():
        return {}
    folder, task = Path(distilled.asked.export), distilled.task
    losses = distilled.arguments[TaskLossArguments]
    headline = tagging_results.HEADLINE if isinstance(task, TaggingTask) else find_headline(task)
    scores = {name: row for name, row in results.items() if isinstance(row, dict)}
    sizes = {name: len(rows) for name, rows in task.corpus.splits.items()}
    card = make_card(
        folder,
        task,
        scores,
        headline,
        base_model=distilled.asked.teacher_name,
        dataset=task.corpus.name,
        sizes={**sizes, "unlabelled rows": distilled.unlabelled},
        facts={
            "losses": list_losses(losses.alphas(), losses.temperature),
            **{name: distilled.arguments.get(name) for name in CARD_FACTS},
        },
        notes=task.corpus.notes,
    )
    metrics = write_export(folder, {"student": distilled.student, "teacher": distilled.teacher}, task.tokenizer, card)
    find_settings(distilled, decision).save(folder)
    return {"export": str(folder), **{name.replace(" ", "_"): value for name, value in metrics.items()}}
