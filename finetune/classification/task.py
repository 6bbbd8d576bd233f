"""Classification of whole texts, step by step in the order data flows: what its commands share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from finetune.arguments.model import ModelArguments
from finetune.arguments.nearest import allowed_values
from finetune.arguments.parser import Arguments
from finetune.arguments.training_table import TrainingValues
from finetune.classification.arguments import ClassificationArguments, check_regression, split_names
from finetune.classification.checks import find_problem_type
from finetune.classification.column_choice import ProblemType
from finetune.classification.decisions import SMALLER_IS_BETTER, Scoring
from finetune.classification.encoding import EncodedClassification, encode_classification
from finetune.classification.truncation import LongText
from finetune.data.corpus import Corpus
from finetune.encoding.subwords import SubwordEncoder
from finetune.errors import DataError, Problem, ProblemList, UsageError
from finetune.models.checks import (
    LabelMatch,
    check_head,
    check_max_length,
    check_vocabulary,
    match_head,
    name_labels,
    resolve_max_length,
)
from finetune.models.loading import check_weights, load_config
from finetune.models.settings import ClassifierSettings
from finetune.tokenization.loading import load_tokenizer
from finetune.training.evaluation_schedule import resolve_schedule

logger = logging.getLogger(__name__)

TASK = "sequence_classification"
NEEDED = {"do_train": "train", "do_eval": "validation", "do_predict": "test"}


@dataclass(frozen=True)
class Plan:
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


@dataclass
class ClassificationTask:
    """Everything that is known before weights are read; nothing in it is wrong."""

    arguments: Arguments
    plan: Plan
    corpus: Corpus
    problem_type: ProblemType
    tokenizer: PreTrainedTokenizerBase
    config: PretrainedConfig
    labels: list[str]
    new_head: bool
    values: TrainingValues  # TrainingArguments by name, settled
    scoring: Scoring
    settings: ClassifierSettings
    encoded: dict[str, EncodedClassification]

    @property
    def options(self) -> ClassificationArguments:
        return self.arguments[ClassificationArguments]

    def is_labelled(self, split: str) -> bool:
        return "label" in self.corpus.splits[split].column_names


def open_task(arguments: Arguments, plan: Plan) -> ClassificationTask:
    """Read data, tokenizer and configuration, judge them together, and encode.

    Raises:
        DataError: with every problem of all of them.
    """
    problems = ProblemList()
    model, training, options = arguments[ModelArguments], arguments.training, arguments[ClassificationArguments]
    corpus = problems.attempt(open_corpus, arguments, plan)
    tokenizer = problems.attempt(load_tokenizer, model, space_token=plan.space_token)
    config = problems.attempt(load_config, model)
    problems.extend(check_weights(model))
    has_validation = bool(training.get("do_eval")) and (corpus is None or "validation" in corpus.splits)
    if config is not None:
        problems.extend(check_head(config, TASK))
        problems.extend(check_length(options.max_seq_length, config))
    if config is not None and tokenizer is not None:
        problems.extend(check_vocabulary(config, tokenizer))
    problem_type = find_problem_type(corpus) if corpus else ProblemType.SINGLE
    if problem_type is ProblemType.REGRESSION:
        problems.extend(check_regression(arguments))
    scoring = Scoring(problem_type, plan.metrics)
    values = problems.attempt(resolve_values, training, options, scoring, has_validation)
    match = LabelMatch([], new_head=False)
    if config is not None and corpus is not None:
        match = match_outputs(config, corpus, problem_type, arguments)
        problems.extend(match.problems)
    problems.raise_any(DataError)
    assert corpus and tokenizer is not None and config is not None and values is not None
    name_labels(config, match.labels)
    config.problem_type = problem_type.value
    settings = resolve_settings(plan, corpus, problem_type, options, config, tokenizer, find_columns(arguments))
    task = ClassificationTask(
        arguments,
        plan,
        corpus,
        problem_type,
        tokenizer,
        config,
        match.labels,
        match.new_head,
        values,
        scoring,
        settings,
        {},
    )
    task.encoded = encode_splits(task)
    return task


def open_corpus(arguments: Arguments, plan: Plan) -> Corpus:
    """The corpus of the command; each stage that was asked for needs its split.

    Raises:
        DataError: the corpus is broken, or splits are missing.
    """
    corpus = plan.read(arguments)
    training = arguments.training
    there = f"{corpus.name} has {', '.join(corpus.splits)}"
    problems = [
        Problem(f"--{flag} needs a {split} split", there)
        for flag, split in NEEDED.items()
        if training.get(flag) and split not in corpus.splits
    ]
    problems += [
        Problem(f"--{flag} needs labels, and {split} has none", "", "label it, or use it as the test split")
        for flag, split in (("do_train", "train"), ("do_eval", "validation"))
        if training.get(flag) and split in corpus.splits and "label" not in corpus.splits[split].column_names
    ]
    if problems:
        raise DataError(*problems)
    return corpus


def check_length(typed: int | None, config: PretrainedConfig) -> list[Problem]:
    return [
        replace(problem, found=problem.found.replace("--max_length", "--max_seq_length"), remedy="lower it")
        for problem in check_max_length(typed, config)
    ]


def resolve_values(
    training: TrainingValues, options: ClassificationArguments, scoring: Scoring, has_validation: bool
) -> TrainingValues:
    """TrainingArguments with what follows from the task: the best checkpoint is chosen by its main score.

    Raises:
        UsageError: the score that was typed is none of this task, or values contradict each other.
    """
    values = training.copy()
    asked = values.get("metric_for_best_model") or options.metric_name
    if asked is not None and (name := asked.removeprefix("eval_")) not in scoring.names:
        flag = "metric_for_best_model" if values.get("metric_for_best_model") else "metric_name"
        raise UsageError(Problem(f"--{flag} is {name!r}", allowed_values(name, scoring.names)))
    if has_validation and values.get("do_train"):
        values["metric_for_best_model"] = chosen = asked or scoring.main
        best = chosen.removeprefix("eval_")
        if values.get("greater_is_better") is None or best in SMALLER_IS_BETTER:
            values["greater_is_better"] = best not in SMALLER_IS_BETTER
    return resolve_schedule(values, has_validation=has_validation)


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
    plan: Plan,
    corpus: Corpus,
    problem_type: ProblemType,
    options: ClassificationArguments,
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    columns: dict[str, Any],
) -> ClassifierSettings:
    """How texts become input, in full, as it is saved beside the model."""
    limit = resolve_max_length(None, config, tokenizer)
    default = limit if plan.default_length is None else min(plan.default_length, limit)
    first = next(iter(corpus.splits.values()))
    return replace(
        plan.settings,
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


def stages(arguments: Arguments) -> list[str]:
    """The splits of the stages after training that were asked for."""
    splits = {"do_eval": "validation", "do_predict": "test"}
    return [split for flag, split in splits.items() if arguments.training.get(flag)]
