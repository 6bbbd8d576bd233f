"""What is said against data, tokenizer and configuration together, before weights are read, whatever the task."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from finetune.arguments.model import ModelArguments
from finetune.arguments.nearest import allowed_values
from finetune.arguments.parser import Arguments
from finetune.data.corpus import Corpus
from finetune.errors import DataError, Problem
from finetune.models.checks import check_head, check_max_length, check_vocabulary
from finetune.models.loading import check_weights
from finetune.supervised.arguments import STAGES


def require_splits(corpus: Corpus, training: Mapping[str, Any], label: str) -> None:
    """Each stage that was asked for has its split, and labels where it needs them.

    Args:
        corpus: the data.
        training: TrainingArguments by name: `do_train`, `do_eval`, `do_predict`.
        label: the column of the labels.

    Raises:
        DataError: with every split that is missing or has no labels.
    """
    there = f"{corpus.name} has {', '.join(corpus.splits)}"
    asked = {flag: split for flag, split in STAGES.items() if training.get(flag)}
    problems = [
        Problem(f"--{flag} needs a {split} split", there) for flag, split in asked.items() if split not in corpus.splits
    ]
    problems += [
        Problem(f"--{flag} needs labels, and {split} has none", "", "label it, or use it as the test split")
        for flag, split in asked.items()
        if split in corpus.splits and split != "test" and label not in corpus.splits[split].column_names
    ]
    if problems:
        raise DataError(*problems)


def check_pretrained(
    arguments: Arguments,
    head: str,
    length: int | None,
    flag: str,
    config: PretrainedConfig | None,
    tokenizer: PreTrainedTokenizerBase | None,
) -> list[Problem]:
    """What can be said against model and tokenizer before weights are read; what could not be opened is None.

    `length` is the longest input that was typed, after `flag`.
    """
    problems = check_weights(arguments[ModelArguments])
    if config is not None:
        problems += check_head(config, head)
        problems += [
            replace(problem, found=problem.found.replace("--max_length", flag))
            for problem in check_max_length(length, config)
        ]
    if config is not None and tokenizer is not None:
        problems += check_vocabulary(config, tokenizer)
    return problems


def check_best_metric(asked: str | None, known: Collection[str], flag: str = "metric_for_best_model") -> list[Problem]:
    """The metric that chooses the best checkpoint must be one that validation has."""
    name = (asked or "").removeprefix("eval_")
    return [] if asked is None or name in known else [Problem(f"--{flag} is {name!r}", allowed_values(name, known))]
