"""A trained language model's results: perplexity on the validation text, printed and written."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import Trainer

from finetune.encoding.token_store import TokenStore
from finetune.language_modeling.arguments import LanguageModelArguments, TextArguments
from finetune.language_modeling.losses import StreamedExamples
from finetune.language_modeling.task import LanguageTask, Objective
from finetune.report.files import write_metrics, write_results
from finetune.report.model_card import ModelCard, write_model_card
from finetune.run.folder import Run
from finetune.run.manifest import library_versions
from finetune.supervised.data_summary import write_length_summary
from finetune.training.settled import describe_settled

PIPELINES = {Objective.MASKED: "fill-mask", Objective.CAUSAL: "text-generation"}
CARD_FACTS = ("num_train_epochs", "max_steps", "learning_rate", "per_device_train_batch_size", "seed")
METRICS = ("perplexity", "loss", "accuracy")


def score_validation(trainer: Trainer, task: LanguageTask) -> dict[str, float]:
    """Loss, perplexity and accuracy on the validation text; empty where there is none."""
    if task.validation is None:
        return {}
    metrics = trainer.evaluate()
    return {name: float(metrics[f"eval_{name}"]) for name in METRICS}


def write_language_results(
    run: Run, task: LanguageTask, metrics: dict[str, float], *, legacy_file: str = "eval_results.txt"
) -> dict[str, Any]:
    """Write metrics.json, the legacy results file and README.md; returns the metrics of the last line."""
    assert run.folder is not None
    for name, value in metrics.items():
        print(f"{name} = {value:.6g}")
    if not run.writes:
        return dict(metrics)
    if metrics:
        write_metrics(run.folder, {"validation": metrics})
        write_results(run.folder / legacy_file, metrics, title="Eval results")
    write_length_summary(run.folder, {"train": find_lengths(task.train), "validation": find_lengths(task.validation)})
    write_model_card(run.folder, make_card(run, task, metrics))
    return dict(metrics)


def find_lengths(store: TokenStore | StreamedExamples | None) -> NDArray[np.int64] | None:
    """Of all examples, (examples,); those of a stream are not known."""
    return store.lengths if isinstance(store, TokenStore) else None


def make_card(run: Run, task: LanguageTask, metrics: dict[str, float]) -> ModelCard:
    assert run.folder is not None
    model, text = task.arguments[LanguageModelArguments], task.arguments[TextArguments]
    source = model.model_name_or_path or model.model_dir
    sizes = {"train": task.train, "validation": task.validation}
    return ModelCard(
        name=run.folder.name,
        task=PIPELINES[task.definition.objective],
        base_model=source or "",
        hub_dataset=text.dataset_name or "",
        dataset=text.dataset_name or ", ".join(path.name for path in task.files.train[:5]),
        metrics={"validation": metrics} if metrics else {},
        headline=METRICS[:1],
        sizes={name: len(store) for name, store in sizes.items() if store is not None and hasattr(store, "__len__")},
        facts={name: task.arguments.get(name) for name in CARD_FACTS}
        | {"ids of an example": task.max_length}
        | describe_settled(run),
        command=task.arguments.command_line(),
        versions=library_versions(),
    )
