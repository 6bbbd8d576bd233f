"""A trained tagger's results, step by step: every split scored by words, the report printed and written."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import Trainer

from finetune.report.calibration import Bin, count_bins
from finetune.run.folder import Run
from finetune.supervised.results import write_supervised_results
from finetune.tagging import legacy_files as legacy_ner
from finetune.tagging.decoding import predict_split
from finetune.tagging.metrics import MAIN_METRICS, compare_tags, name_tags
from finetune.tagging.report import (
    format_result,
    write_calibration,
    write_predictions,
    write_probabilities,
    write_report,
)
from finetune.tagging.summary import TaggingSummary, summarise_tagging
from finetune.tagging.task import TaggingTask
from finetune.training.settled import spell_settled

logger = logging.getLogger(__name__)

HEADLINE = ("f1_micro", "precision_micro", "recall_micro", "accuracy")


@dataclass(frozen=True)
class SplitResult:
    """Tags of every word of a split; `expected`, `summary` and `loss` are None where it has no labels."""

    words: list[list[str]]
    predicted: list[list[str]]
    expected: list[list[str]] | None
    summary: TaggingSummary | None
    loss: float | None
    confidence: NDArray[np.float32]  # (words,), the probability of each predicted tag
    probabilities: NDArray[np.float16] | None = None


def score_splits(trainer: Trainer, task: TaggingTask, names: Sequence[str]) -> dict[str, SplitResult]:
    """Tag the splits and score those that have labels; the text of each report goes to standard output."""
    results = {}
    for name in names:
        result = results[name] = score_split(trainer, task, name)
        if result.summary is not None:
            print(format_result(name, result.summary))
        else:
            logger.info("%s has no labels: it is predicted, not scored.", name)
    return results


def score_split(trainer: Trainer, task: TaggingTask, name: str) -> SplitResult:
    tagged = predict_split(trainer, task, name)
    logger.info("%s: %d sentences tagged in %.1f seconds.", name, len(tagged.words.offsets) - 1, tagged.seconds)
    predicted = name_tags(tagged.words.values, tagged.words.offsets, task.labels)
    split = task.corpus.splits[name]
    words = split["words"][:]
    if "tags" not in split.column_names:
        return SplitResult(words, predicted, None, None, None, tagged.confidence, tagged.probabilities)
    expected = split["tags"][:]
    summary = summarise_tagging(compare_tags(predicted, expected, task.scheme))
    return SplitResult(words, predicted, expected, summary, tagged.loss, tagged.confidence, tagged.probabilities)


def write_tagging_results(run: Run, task: TaggingTask, results: dict[str, SplitResult]) -> dict[str, Any]:
    """Write metrics.json, report.txt, predictions.<split>.conll and README.md; returns the metrics of the last line."""
    metrics = {name: as_metrics(task, result) for name, result in results.items() if result.summary is not None}
    summaries = {name: result.summary for name, result in results.items() if result.summary is not None}

    def write_files(folder: Path) -> None:
        for name, result in results.items():
            if name != "train":
                write_predictions(folder, name, result.words, result.predicted, result.expected)
            if name != "train" and result.probabilities is not None:
                write_probabilities(folder, name, task.labels, result.probabilities)
        write_report(folder, summaries, notes=[*task.notes, *spell_settled(run)])
        write_calibration(folder, {name: calibration for name in metrics if (calibration := calibrate(results[name]))})

    write_supervised_results(run, task, metrics, write_files, headline=HEADLINE)
    return {name: {key: metrics[name][key] for key in MAIN_METRICS[task.is_entities]} for name in metrics}


def calibrate(result: SplitResult) -> list[Bin]:
    """How often the tags of words come true that got them with about the same probability."""
    assert result.expected is not None
    sides = ([tag for tags in side for tag in tags] for side in (result.predicted, result.expected))
    right = np.array([a == b for a, b in zip(*sides, strict=True)], dtype=bool)
    return count_bins(result.confidence, right)


def as_metrics(task: TaggingTask, result: SplitResult) -> dict[str, Any]:
    """One split of metrics.json: the keys of thai2transformers' report, the loss, and every other reading by name."""
    assert result.summary is not None
    metrics = {**result.summary.as_dict(), "loss": result.loss}
    if task.options.return_entity_level_metrics:
        metrics |= flatten_classes(result.summary)
    return metrics


def flatten_classes(summary: TaggingSummary) -> dict[str, float]:
    """`PER_precision`, `PER_recall`, `PER_f1`, `PER_number`: run_ner.py's --return_entity_level_metrics."""
    metrics: dict[str, float] = {}
    for row in summary.main.classes:
        named = {"precision": row.precision, "recall": row.recall, "f1": row.f1, "number": row.support}
        metrics |= {f"{row.label}_{name}": value for name, value in named.items()}
    return metrics


def write_legacy_results(run: Run, task: TaggingTask, results: dict[str, SplitResult], trainer: Trainer) -> None:
    """`eval_results.txt`, `test_results.txt` and `test_predictions.txt`, as run_ner.py of transformers 2 to 4 wrote them."""
    assert run.folder is not None
    if not run.writes:
        return
    for name in ("validation", "test"):
        result = results.get(name)
        if result is not None and result.summary is not None:
            state = {"epoch": trainer.state.epoch, "total_flos": trainer.state.total_flos}
            legacy_ner.write_legacy_results(run.folder, name, result.summary.main, loss=result.loss, **state)
    if "test" in results:
        files = [path for path in task.corpus.files.get("test", []) if path.suffix == ".txt"]
        target = run.folder / "test_predictions.txt"
        source = files[0] if len(files) == 1 else None
        legacy_ner.write_legacy_predictions(target, results["test"].words, results["test"].predicted, source=source)
