"""A trained text classifier's results, step by step: what is fitted on validation, scores, reports, files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import Trainer

from finetune.arguments.model import ModelArguments
from finetune.classification.column_choice import ProblemType
from finetune.classification.decisions import Decision, fit_decision, plain_decision, read_decision
from finetune.classification.evaluation import Outputs, PredictedTexts, predict_texts
from finetune.classification.report import (
    describe_outputs,
    format_decision,
    format_details,
    format_result,
    warn_of_fitting,
    write_predictions,
    write_report,
)
from finetune.classification.summary import TextSummary, summarise_texts
from finetune.classification.task import ClassificationTask
from finetune.classification.thresholds import ThresholdScope
from finetune.models.settings import ClassifierSettings
from finetune.run.folder import Run
from finetune.supervised.results import write_supervised_results
from finetune.training.settled import spell_settled

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitResult:
    """Outputs (texts, labels) of a split; `summary` and `loss` are None where it has no labels."""

    outputs: Outputs
    summary: TextSummary | None
    loss: float | None


@dataclass(frozen=True)
class Results:
    """What a run found: the decision rule, and the result of each split."""

    decision: Decision
    splits: dict[str, SplitResult]


class SplitOutputs:
    """Outputs of a trained model, each split predicted once; `of` an unlabelled split has no loss."""

    def __init__(self, trainer: Trainer, task: ClassificationTask) -> None:
        self.trainer, self.task = trainer, task
        self.known: dict[str, PredictedTexts] = {}

    def of(self, split: str) -> PredictedTexts:
        if split not in self.known:
            encoded, is_labelled = self.task.encoded[split], self.task.is_labelled(split)
            self.known[split] = predict_texts(self.trainer, encoded, is_labelled=is_labelled)
        return self.known[split]


def fit_on_validation(outputs: SplitOutputs, task: ClassificationTask) -> Decision:
    """Temperature and thresholds: fitted on validation after training; those saved with the model otherwise.

    Nothing is ever fitted on a split that is only tested.

    Raises:
        DataError: the thresholds saved with the model are of another label set.
    """
    options, plain = task.options, plain_decision(task.problem_type, task.labels)
    scope, calibrate = ThresholdScope(options.thresholds), options.calibrate != "none"
    stored = None if task.values.get("do_train") else load_decision(task)
    if stored is not None:
        return stored
    wanted = calibrate or (task.problem_type is ProblemType.MULTI and scope is not ThresholdScope.FIXED)
    if not wanted or task.problem_type is ProblemType.REGRESSION:
        return plain
    if "validation" not in task.corpus.splits or not task.is_labelled("validation"):
        logger.warning("There is no labelled validation split: nothing is fitted, the thresholds are 0.5.")
        return plain
    expected = task.encoded["validation"].labels
    decision = fit_decision(outputs.of("validation").outputs, expected, plain, scope=scope, calibrate=calibrate)
    if decision.thresholds.unfitted:
        names = ", ".join(decision.thresholds.unfitted)
        logger.warning("Validation has no example of %s: the threshold stays 0.5.", names)
    return decision


def load_decision(task: ClassificationTask) -> Decision | None:
    """What was saved with the model; None where it says nothing."""
    folder = Path(task.arguments[ModelArguments].model_name_or_path)
    settings = ClassifierSettings.load(folder) if folder.is_dir() else None
    return None if settings is None else read_decision(settings, task.problem_type, task.labels)


def add_decision(settings: ClassifierSettings, decision: Decision) -> ClassifierSettings:
    """Settings that hold the decision rule, as they are saved beside the model."""
    settings = replace(settings, temperature=decision.temperature)
    if decision.problem_type is not ProblemType.MULTI:
        return settings
    stored = decision.thresholds.as_json()
    return replace(settings, thresholds=stored["thresholds"], threshold_scope=stored["scope"])


def score_splits(outputs: SplitOutputs, task: ClassificationTask, decision: Decision, names: Sequence[str]) -> Results:
    """Predict the splits and score those that have labels; the text of each report goes to standard output."""
    results = Results(decision, {})
    for name in names:
        result = results.splits[name] = score_split(outputs, task, decision, name)
        if result.summary is not None and outputs.trainer.is_world_process_zero():
            print(format_result(name, result.summary))
        elif result.summary is None:
            logger.info("%s has no labels: it is predicted, not scored.", name)
    return results


def score_split(outputs: SplitOutputs, task: ClassificationTask, decision: Decision, name: str) -> SplitResult:
    predicted = outputs.of(name)
    if not task.is_labelled(name):
        return SplitResult(predicted.outputs, None, None)
    expected, limit = task.encoded[name].labels, task.options.listed_errors
    summary = summarise_texts(predicted.outputs, expected, decision, task.scoring, task.labels, listed_errors=limit)
    return SplitResult(predicted.outputs, summary, predicted.loss)


def write_classification_results(run: Run, task: ClassificationTask, results: Results) -> dict[str, Any]:
    """Write metrics.json, report.txt, predictions.<split>.jsonl and README.md; returns the metrics of the last line."""
    metrics = {name: as_metrics(result) for name, result in results.splits.items() if result.summary is not None}
    fitted = warn_of_fitting(results.decision)

    def write_files(folder: Path) -> None:
        for name, result in results.splits.items():
            rows = task.corpus.splits[name]
            write_predictions(folder, name, rows, result.outputs, results.decision, task.labels)
        notes = [*task.notes, *spell_settled(run), *fitted]
        write_report(folder, format_report(task, results), notes=notes)

    write_supervised_results(run, task, metrics, write_files, headline=find_headline(task), notes=fitted)
    main = task.options.metric_name or task.scoring.main
    shown = dict.fromkeys((*task.scoring.metrics, main, *(("f1_macro",) if "f1_macro" in task.scoring.names else ())))
    return {name: {key: scores[key] for key in shown if key in scores} for name, scores in metrics.items()}


def as_metrics(result: SplitResult) -> dict[str, Any]:
    """One split of metrics.json."""
    assert result.summary is not None
    return {**result.summary.scores, "loss": result.loss}


def find_headline(task: ClassificationTask) -> tuple[str, ...]:
    """The metrics that a card shows first, each once."""
    return tuple(dict.fromkeys((task.scoring.main, *task.scoring.metrics)))


def format_report(task: ClassificationTask, results: Results) -> list[str]:
    parts = []
    for name, result in results.splits.items():
        if result.summary is not None:
            parts.append(format_result(name, result.summary))
            parts.append(format_details(name, result.summary, task.labels, task.corpus.splits[name]))
    return [*parts, format_decision(results.decision)]


def name_predictions(task: ClassificationTask, results: Results, split: str) -> list[Any]:
    """What is predicted of each text of a split: a label, a list of labels, or a number."""
    outputs = results.splits[split].outputs
    return [answer["predicted"] for answer in describe_outputs(outputs, results.decision, task.labels)]
