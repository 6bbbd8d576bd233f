"""Classification of whole texts, step by step in the order data flows: what its commands share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.arguments.training_table import TrainingValues
from finetune.classification.arguments import (
    ClassificationArguments,
    ClassificationDataArguments,
    check_regression,
    split_names,
)
from finetune.classification.checks import find_problem_type
from finetune.classification.column_choice import ProblemType
from finetune.classification.corpora import find_hub_name
from finetune.classification.decisions import SMALLER_IS_BETTER, Scoring, fit_decision, plain_decision
from finetune.classification.encoding import EncodedClassification, encode_classification
from finetune.classification.evaluation import Outputs, Score, build_text_metrics
from finetune.classification.examples import format_texts
from finetune.classification.losses import SequenceEvaluationLoss, SequenceLoss, balance_positive_weights
from finetune.classification.published.cleaning import make_cleaner
from finetune.classification.row_targets import require_targets
from finetune.classification.silver import add_silver_texts
from finetune.classification.thresholds import ThresholdScope
from finetune.classification.truncation import LongText
from finetune.data.corpus import Corpus
from finetune.encoding.subwords import SubwordEncoder
from finetune.errors import DataError, ProblemList, UsageError
from finetune.models.checks import LabelMatch, match_head, name_labels, resolve_max_length
from finetune.models.loading import load_config
from finetune.models.settings import ClassifierSettings
from finetune.supervised.opening import check_best_metric, check_pretrained, require_splits
from finetune.supervised.task import SupervisedTask
from finetune.supervised.training import open_class_weights, resolve_class_weights
from finetune.tokenization.loading import load_tokenizer
from finetune.training.building import TrainerParts
from finetune.training.callbacks import CheckpointFiles
from finetune.training.collators import ClassificationCollator
from finetune.training.evaluation_schedule import resolve_schedule
from finetune.training.losses import balance_class_weights, take_label_smoothing

logger = logging.getLogger(__name__)

TASK = "sequence_classification"


@dataclass(frozen=True)
class TaskDefinition:
    """What a command knows before it reads anything.

    `read` opens its corpus. `name` is that of the task in logs and files. `metrics` are those of `glue.metrics`,
    where the task has its own. `default_length` is the longest input where none was typed (None: the model's own).
    `settings` are those of the input that the command has decided on (cleaning, lower case).
    """

    read: Callable[[Arguments], Corpus]
    name: str = ""
    metrics: tuple[str, ...] = ()
    default_length: int | None = None
    space_token: str | None = None
    settings: ClassifierSettings = field(default_factory=ClassifierSettings)


@dataclass(kw_only=True)
class ClassificationTask(SupervisedTask):
    """A task of whole texts; `settings` say how texts become input, `scoring` what they are scored by."""

    definition: TaskDefinition
    problem_type: ProblemType
    scoring: Scoring
    settings: ClassifierSettings

    head = TASK
    hub_task = "text-classification"

    @property
    def options(self) -> ClassificationArguments:
        return self.arguments[ClassificationArguments]

    def is_labelled(self, split: str) -> bool:
        return "label" in self.corpus.splits[split].column_names

    @property
    def padded_length(self) -> int | None:
        return self.settings.max_length if self.options.pad_to_max_length else None

    def build_parts(self, model: PreTrainedModel) -> TrainerParts:
        loss, validation = self.build_loss(), self.encoded.get("validation")
        return TrainerParts(
            model=model,
            tokenizer=self.tokenizer,
            collator=ClassificationCollator.for_tokenizer(self.tokenizer, max_length=self.padded_length),
            loss=loss,
            train=self.rows("train"),
            validation=self.rows("validation"),
            compute_metrics=None if validation is None else build_text_metrics(validation, self.build_score()),
            callbacks=[CheckpointFiles(self.settings.save)],
            evaluation=SequenceEvaluationLoss(loss),
            sparse_embedding=True,
        )

    def build_loss(self) -> SequenceLoss:
        smoothing, _ = take_label_smoothing(self.values)
        weights = resolve_class_weights(self)
        return SequenceLoss(self.problem_type.value, weights, smoothing, self.options.focal_gamma)

    def build_score(self) -> Score:
        """Scores during training. Thresholds of several labels are fitted anew each time: validation is there for that."""
        plain, scope = plain_decision(self.problem_type, self.labels), ThresholdScope(self.options.thresholds)

        def score(outputs: Outputs, expected: Any) -> dict[str, float]:
            decision = fit_decision(outputs, expected, plain, scope=scope)
            return self.scoring.score(decision.decide(outputs), expected)

        return score

    def balance_weights(self) -> list[float]:
        labels = self.encoded["train"].labels
        if self.problem_type is ProblemType.MULTI:
            return balance_positive_weights(labels)
        return balance_class_weights(labels, len(self.labels))

    def make_settings(self) -> ClassifierSettings:
        return self.settings

    def format_examples(self) -> str:
        encoded = next(iter(self.encoded.values()))
        return format_texts(encoded, self.tokenizer, self.labels, self.problem_type)

    def describe_data(self) -> dict[str, str]:
        typed = self.arguments[ClassificationDataArguments].dataset_name or ""
        return {"dataset": typed or self.corpus.name, "hub_dataset": find_hub_name(self.corpus.name, typed=typed)}

    def describe_training(self) -> dict[str, Any]:
        return {"max_length": self.settings.max_length}


def open_task(arguments: Arguments, definition: TaskDefinition) -> ClassificationTask:
    """Read data, tokenizer and configuration, check them together, and encode.

    Raises:
        DataError: with every problem of all of them.
    """
    problems = ProblemList()
    model, training, options = arguments[ModelArguments], arguments.training, arguments[ClassificationArguments]
    corpus = problems.attempt(open_corpus, arguments, definition)
    tokenizer = problems.attempt(load_tokenizer, model, space_token=definition.space_token)
    config = problems.attempt(load_config, model)
    problems.extend(check_pretrained(arguments, TASK, options.max_seq_length, "--max_seq_length", config, tokenizer))
    has_validation = bool(training.get("do_eval")) and (corpus is None or "validation" in corpus.splits)
    problem_type = find_problem_type(corpus) if corpus else ProblemType.SINGLE
    if problem_type is ProblemType.REGRESSION:
        problems.extend(check_regression(arguments))
    scoring = Scoring(problem_type, definition.metrics)
    values = problems.attempt(resolve_values, training, options, scoring, has_validation)
    match, weights = LabelMatch([], new_head=False), None
    if config is not None and corpus is not None:
        match = match_outputs(config, corpus, problem_type, arguments)
        problems.extend(match.problems)
        if problem_type is not ProblemType.REGRESSION:
            weights = problems.attempt(open_class_weights, options.class_weights, match.labels)
    problems.raise_any(DataError)
    assert corpus and tokenizer is not None and config is not None and values is not None
    name_labels(config, match.labels)
    config.problem_type = problem_type.value
    task = ClassificationTask(
        arguments=arguments,
        definition=definition,
        corpus=corpus,
        problem_type=problem_type,
        tokenizer=tokenizer,
        config=config,
        labels=match.labels,
        new_head=match.new_head,
        values=values,
        class_weights=weights,
        scoring=scoring,
        settings=resolve_settings(
            definition, corpus, problem_type, options, config, tokenizer, find_columns(arguments)
        ),
        notes=corpus.notes,
    )
    task.encoded = encode_splits(task)
    return task


def open_corpus(arguments: Arguments, definition: TaskDefinition) -> Corpus:
    """The corpus of the command; each stage that was asked for needs its split.

    Raises:
        DataError: the corpus is broken, or splits or labels are missing.
    """
    corpus = definition.read(arguments)
    require_targets(corpus, arguments)
    if arguments[ClassificationArguments].silver_file:
        already = len(corpus.notes)
        add_silver_texts(corpus, arguments, make_cleaner(definition.settings))
        for note in corpus.notes[already:]:
            logger.warning("%s", note)
    require_splits(corpus, arguments.training, "label")
    return corpus


def resolve_values(
    training: TrainingValues, options: ClassificationArguments, scoring: Scoring, has_validation: bool
) -> TrainingValues:
    """TrainingArguments with what follows from the task: the best checkpoint is chosen by its main score.

    Raises:
        UsageError: the score that was typed is none of this task, or values contradict each other.
    """
    values = training.copy()
    typed = values.get("metric_for_best_model")
    asked, flag = (typed, "metric_for_best_model") if typed else (options.metric_name, "metric_name")
    if problems := check_best_metric(asked, scoring.names, flag):
        raise UsageError(*problems)
    if has_validation and values.get("do_train"):
        values["metric_for_best_model"] = chosen = asked or scoring.main
        best = chosen.removeprefix("eval_")
        if values.get("greater_is_better") is None or best in SMALLER_IS_BETTER:
            values["greater_is_better"] = best not in SMALLER_IS_BETTER
    return resolve_schedule(values, has_validation=has_validation, main_metric=scoring.main)


def match_outputs(
    config: PretrainedConfig, corpus: Corpus, problem_type: ProblemType, arguments: Arguments
) -> LabelMatch:
    """The outputs of the model: the data's labels in the order of a head that knows them, or a new head."""
    trains, folder = bool(arguments.training.get("do_train")), arguments[ModelArguments].model_name_or_path
    if problem_type is ProblemType.REGRESSION:
        match = match_head(config, ["LABEL_0"], trains=trains, folder=folder)
        return replace(match, labels=["LABEL_0"])
    own = [str(label) for _, label in sorted((config.id2label or {}).items())]
    if corpus.labels is None:  # texts to predict only: the model's labels are all there are
        return match_head(config, own, trains=False, folder=folder)
    spellings = {label.casefold(): label for label in corpus.labels}
    if len(own) == len(corpus.labels) and {label.casefold() for label in own} == set(spellings):
        config.id2label = {index: spellings[label.casefold()] for index, label in enumerate(own)}  # NEGATIVE, negative
    return match_head(config, corpus.labels, trains=trains, folder=folder)


def resolve_settings(
    definition: TaskDefinition,
    corpus: Corpus,
    problem_type: ProblemType,
    options: ClassificationArguments,
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    columns: dict[str, Any],
) -> ClassifierSettings:
    """How texts become input, in full, as it is saved beside the model."""
    limit = resolve_max_length(None, config, tokenizer)
    default = limit if definition.default_length is None else min(definition.default_length, limit)
    first = next(iter(corpus.splits.values()))
    return replace(
        definition.settings,
        problem_type=problem_type.value,
        max_length=options.max_seq_length or default,
        long_text=options.long_text,
        stride=options.stride,
        pairs="text_pair" in first.column_names,
        **columns,
    )


def find_columns(arguments: Arguments) -> dict[str, Any]:
    """The columns that flags name, for the settings of the model; commands for corpora of their own have no such flags."""
    if arguments.get("text_column") is None and arguments.get("label_column") is None:
        return {}
    return {
        "text_columns": split_names(arguments.get("text_column")),
        "text_pair_column": arguments.get("text_pair_column"),
        "text_column_delimiter": arguments.get("text_column_delimiter"),
        "label_columns": split_names(arguments.get("label_column")),
        "label_delimiter": arguments.get("label_delimiter"),
    }


def encode_splits(task: ClassificationTask) -> dict[str, EncodedClassification]:
    """Every split as ids; those to evaluate with long texts first, so that batches need little padding.

    Raises:
        UsageError: the length or the stride cannot be.
    """
    encoder = SubwordEncoder(task.tokenizer)
    return {
        name: encode_classification(
            split,
            task.tokenizer,
            task.labels,
            task.problem_type,
            max_length=task.settings.max_length or 0,
            long_text=LongText(task.settings.long_text),
            stride=task.settings.stride,
            by_length=name != "train",
            encoder=encoder,
            name=name,
        )
        for name, split in task.corpus.splits.items()
    }
