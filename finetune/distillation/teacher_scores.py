"""The teacher beside its student: its size, and its scores on the splits that the student is scored on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from transformers import PreTrainedModel, Trainer

from finetune.classification import results as classification_results
from finetune.classification.decisions import plain_decision
from finetune.classification.task import ClassificationTask
from finetune.distillation.model import Distillation
from finetune.distillation.task import SupervisedDistillation
from finetune.distillation.task_model import TaskDistillation
from finetune.run.folder import Run
from finetune.run.manifest import write_json_atomically
from finetune.tagging import results as tagging_results
from finetune.tagging.task import TaggingTask

logger = logging.getLogger(__name__)

TEACHER = "teacher.json"
Scores = Mapping[str, Mapping[str, Any]]  # split -> metric -> value


def write_teacher(run: Run, module: Distillation, name: str, scores: Scores | None = None) -> None:
    """Write `teacher.json`: `teacher` is its name, `parameters` those of both models, `scores` are the teacher's."""
    assert run.folder is not None
    if not run.writes:
        return
    models: dict[str, PreTrainedModel] = {"student": module.student, "teacher": module.__dict__["teacher"]}
    sizes = {kind: sum(weight.numel() for weight in model.parameters()) for kind, model in models.items()}
    write_json_atomically(run.folder / TEACHER, {"teacher": name, "parameters": sizes, "scores": dict(scores or {})})


def write_tagging_teacher(run: Run, distilled: SupervisedDistillation, trainer: Trainer, splits: Sequence[str]) -> None:
    """`teacher.json`, with the scores of the teacher by words."""
    task = cast(TaggingTask, distilled.task)

    def score() -> Scores:
        results = {name: tagging_results.score_split(trainer, task, name) for name in splits}
        return {
            name: tagging_results.as_metrics(task, result)
            for name, result in results.items()
            if result.summary is not None
        }

    write_scored(run, distilled, trainer, score if splits else dict)


def write_classification_teacher(
    run: Run, distilled: SupervisedDistillation, trainer: Trainer, splits: Sequence[str]
) -> None:
    """`teacher.json`, with the scores of the teacher by the thresholds that were saved with it."""
    task = cast(ClassificationTask, distilled.task)
    decision = classification_results.load_decision(task) or plain_decision(task.problem_type, task.labels)

    def score() -> Scores:
        outputs = classification_results.SplitOutputs(trainer, task)
        results = {name: classification_results.score_split(outputs, task, decision, name) for name in splits}
        return {name: classification_results.as_metrics(result) for name, result in results.items() if result.summary}

    write_scored(run, distilled, trainer, score if splits else dict)


def write_scored(run: Run, distilled: SupervisedDistillation, trainer: Trainer, score: Callable[[], Scores]) -> None:
    """Write what `score` finds while the teacher answers in the student's place."""
    logger.info("The teacher answers the same splits.")
    module = cast(TaskDistillation, trainer.model)
    with module.teacher_answering():
        scores = score()
    write_teacher(run, module, distilled.asked.teacher_name, scores)
