"""What a task that learns from labels leaves in its output folder, written by one process of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.arguments.model import ModelArguments
from finetune.report.files import write_metrics
from finetune.report.model_card import CARD, ModelCard, predict_usage, write_model_card
from finetune.run.folder import Run
from finetune.run.manifest import library_versions
from finetune.supervised.data_summary import write_data_summary
from finetune.supervised.task import SupervisedTask
from finetune.training.settled import describe_settled, warn_of_choice

CARD_FACTS = ("learning_rate", "per_device_train_batch_size", "gradient_accumulation_steps", "seed")


def write_supervised_results(
    run: Run,
    task: SupervisedTask,
    metrics: Mapping[str, Mapping[str, Any]],
    write_files: Callable[[Path], None],
    *,
    headline: tuple[str, ...],
    notes: Sequence[str] = (),
) -> None:
    """Write metrics.json, data_summary.json, the task's own files, and the model card.

    A card says how a model was trained, so one that training wrote is never overwritten by a run that only scores.

    Args:
        run: its folder; nothing is written by processes that do not own it.
        task: what was trained or scored.
        metrics: of each split that has labels.
        write_files: writes the report and the predictions into a folder.
        headline: the metrics that the card shows first.
        notes: sentences for the card, beside those of the data.
    """
    assert run.folder is not None
    if not run.writes:
        return
    write_files(run.folder)
    write_metrics(run.folder, metrics)
    write_data_summary(run.folder, task)
    if task.trains or not (run.folder / CARD).exists():
        more = {"notes": [*task.notes, *warn_of_choice(run), *notes]}
        card = make_card(run.folder, task, metrics, headline, **more)
        write_model_card(run.folder, replace(card, facts={**card.facts, **describe_settled(run)}))


def make_card(
    folder: Path, task: SupervisedTask, metrics: Mapping[str, Mapping[str, Any]], headline: tuple[str, ...], **more: Any
) -> ModelCard:
    """The card of a trained model, or of scores of one; `more` replaces what a kind of training says otherwise."""
    arguments = task.arguments
    steps = int(arguments.get("max_steps", -1))
    length = {"max_steps": steps} if steps > 0 else {"num_train_epochs": arguments.get("num_train_epochs")}
    chosen = {name: arguments.get(name) for name in CARD_FACTS}
    trained = {**length, **chosen} if task.trains else {}
    facts: dict[str, Any] = {
        "name": folder.name,
        "task": task.hub_task,
        "base_model": arguments[ModelArguments].model_name_or_path,
        **task.describe_data(),
        "metrics": {
            name: {key: value for key, value in row.items() if isinstance(value, int | float)}
            for name, row in metrics.items()
        },
        "headline": headline,
        "labels": [] if getattr(task.config, "problem_type", None) == "regression" else task.labels,
        "sizes": {name: len(split) for name, split in task.corpus.splits.items()},
        "facts": {**trained, **task.describe_training()},
        "command": arguments.command_line(),
        "versions": library_versions(),
        "notes": task.notes,
        "usage": predict_usage(folder),
        "origin": "Fine-tuned" if task.trains else "Scores of a model",
    }
    return ModelCard(**(facts | more))
