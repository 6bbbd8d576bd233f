"""Token classification, step by step in the order data flows: what the tagging commands share."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PretrainedConfig, PreTrainedTokenizerBase, Trainer, set_seed

from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.arguments.run import RunArguments
from finetune.arguments.tagging import TaggingArguments, TaggingDataArguments
from finetune.collators import TaggingCollator
from finetune.data.class_weights import read_class_weights
from finetune.data.corpus import Corpus
from finetune.data.tagging import load_tagging_corpus
from finetune.data.thainer import filter_long_tests
from finetune.encoding.labels import build_label_list, prepare_tags
from finetune.encoding.tagging import EncodedTagging, encode_tagging
from finetune.encoding.tags import TagScheme
from finetune.encoding.words import WordEncoder
from finetune.errors import DataError, Problem, ProblemList
from finetune.metrics.pos import score_piece_tags
from finetune.metrics.tagging import score_pieces
from finetune.metrics.viterbi import decode_constrained, estimate_transitions, forbid_illegal
from finetune.models.judging import (
    judge_head,
    judge_max_length,
    judge_vocabulary,
    match_head,
    name_labels,
    settle_max_length,
)
from finetune.models.loading import judge_weights, load_config, load_model
from finetune.models.settings import TaggerSettings
from finetune.run.folder import Run
from finetune.tokenization.loading import find_space_token, load_tokenizer
from finetune.training.building import TrainerParts, build_trainer
from finetune.training.cadence import settle_cadence
from finetune.training.dry_run import estimate_plan, format_examples, format_plan
from finetune.training.losses import TokenLoss, balance_class_weights
from finetune.training.tagging import Decode, TaggedSplit, build_piece_metrics, predict_tags

logger = logging.getLogger(__name__)

TASK = "token_classification"
LONGEST_DEFAULT_STRIDE = 32


@dataclass
class TaggingTask:
    """Everything that is known before weights are read; nothing in it is wrong."""

    arguments: Arguments
    corpus: Corpus
    scheme: TagScheme
    tokenizer: PreTrainedTokenizerBase
    config: PretrainedConfig
    labels: list[str]
    new_head: bool
    values: dict[str, Any]  # TrainingArguments by name, settled
    max_length: int
    encoded: dict[str, EncodedTagging]

    @property
    def options(self) -> TaggingArguments:
        return self.arguments[TaggingArguments]

    @property
    def stride(self) -> int:
        """Pieces that neighbouring windows share; without --stride a quarter of a window, at most 32."""
        typed = self.options.stride
        return min(LONGEST_DEFAULT_STRIDE, self.max_length // 4) if typed is None else typed

    @property
    def is_entities(self) -> bool:
        """Whether tags spell entities (scored by spans) or are one label per word (scored by words)."""
        return self.scheme is not TagScheme.POS


def open_task(arguments: Arguments) -> TaggingTask:
    """Read data, tokenizer and configuration, judge them together, and encode.

    Raises:
        DataError: with every problem of all of them.
    """
    problems = ProblemList()
    model, training = arguments[ModelArguments], arguments.training
    corpus = problems.attempt(open_corpus, arguments)
    tokenizer = problems.attempt(open_tokenizer, arguments)
    config = problems.attempt(load_config, model)
    problems.extend(judge_weights(model))
    values = problems.attempt(
        settle_cadence, training, has_validation=bool(training.get("do_eval")) and has_split(corpus, "validation")
    )
    if config is not None:
        problems.extend(judge_head(config, TASK))
        problems.extend(judge_max_length(arguments[TaggingArguments].max_length, config))
    if config is not None and tokenizer is not None:
        problems.extend(judge_vocabulary(config, tokenizer))
    labels = problems.attempt(build_label_list, corpus[0]) if corpus else None
    if config is not None and labels is not None:
        match = match_head(config, labels, trains=bool(training.get("do_train")), folder=model.model_name_or_path)
        problems.extend(match.problems)
    problems.raise_any(DataError)
    assert corpus and tokenizer is not None and config is not None and values is not None
    name_labels(config, match.labels)
    max_length = settle_max_length(arguments[TaggingArguments].max_length, config, tokenizer)
    task = TaggingTask(
        arguments, *corpus, tokenizer, config, match.labels, match.new_head, values, max_length, encoded={}
    )
    task.encoded = encode_splits(task)
    return task


def has_split(corpus: tuple[Corpus, TagScheme] | None, name: str) -> bool:
    """Whether the split is there; a corpus that could not be read is taken to have it, to judge the rest."""
    return corpus is None or name in corpus[0].splits


def open_corpus(arguments: Arguments) -> tuple[Corpus, TagScheme]:
    """The corpus with its tags spelt one way, and their scheme; every count is logged."""
    training, task_name = arguments.training, arguments[TaggingArguments].task_name
    data = arguments[TaggingDataArguments]
    if task_name != "ner" and data.label_name is None:
        data = replace(data, label_name=f"{task_name}_tags")
    needs_validation = bool(training.get("do_eval"))
    corpus = load_tagging_corpus(data, seed=int(arguments.get("seed", 42)), validation_needed=needs_validation)
    filter_tests(corpus, arguments)
    is_pos = task_name == "pos" or "pos" in (data.label_name or "")
    prepared = prepare_tags(corpus, fix_labels=data.fix_labels, scheme=TagScheme.POS if is_pos else None)
    for note in prepared.notes:
        logger.info("%s", note)
    check_stages(prepared.corpus, training)
    return prepared.corpus, prepared.scheme


def filter_tests(corpus: Corpus, arguments: Arguments) -> None:
    """`--filter_thainer_with_mbert_tokenizer_threshold`: leave out test sentences that multilingual BERT would have cut."""
    threshold = arguments[TaggingDataArguments].filter_thainer_with_mbert_tokenizer_threshold
    if threshold is None:
        return
    model = arguments[ModelArguments]
    mbert = replace(model, model_name_or_path="mbert", tokenizer_name_or_path=None, tokenizer_type="skip")
    filter_long_tests(corpus, load_tokenizer(mbert).tokenize, threshold)


def check_stages(corpus: Corpus, training: dict[str, Any]) -> None:
    """Each stage that was asked for needs its split.

    Raises:
        DataError: splits are missing.
    """
    needed = {"do_train": "train", "do_eval": "validation", "do_predict": "test"}
    missing = [(flag, split) for flag, split in needed.items() if training.get(flag) and split not in corpus.splits]
    if missing:
        raise DataError(
            *(
                Problem(f"--{flag} needs a {split} split", f"{corpus.name} has {', '.join(corpus.splits)}")
                for flag, split in missing
            )
        )


def open_tokenizer(arguments: Arguments) -> PreTrainedTokenizerBase:
    space_token = arguments[TaggingArguments].space_token
    return load_tokenizer(arguments[ModelArguments], space_token=space_token, add_prefix_space=True)


def encode_splits(task: TaggingTask) -> dict[str, EncodedTagging]:
    """Encode every split of the corpus; words of one split are not tokenized again in the next."""
    options = task.options
    space_token = find_space_token(task.tokenizer, options.space_token)
    encoder = WordEncoder(task.tokenizer, lowercase=options.lowercase, space_token=space_token)
    problems = ProblemList()
    encoded = {
        name: problems.attempt(
            encode_tagging,
            split,
            task.tokenizer,
            task.labels,
            max_length=task.max_length,
            stride=task.stride,
            label_all_tokens=options.label_all_tokens,
            continue_labels=options.continue_labels,
            encoder=encoder,
            name=name,
            files=task.corpus.files.get(name, ()),
        )
        for name, split in task.corpus.splits.items()
    }
    problems.raise_any()
    return {name: split for name, split in encoded.items() if split is not None}


def build_tagging_trainer(task: TaggingTask, run: Run) -> Trainer:
    """Load the model and build the Trainer of this task."""
    set_seed(int(task.arguments.get("seed", 42)))  # the new head is drawn here
    model = load_model(task.arguments[ModelArguments], task.config, task.tokenizer, task=TASK, new_head=task.new_head)
    weights = settle_class_weights(task)
    smoothing = float(task.values.get("label_smoothing_factor") or 0.0)
    values = {name: value for name, value in task.values.items() if name != "label_smoothing_factor"}
    if task.arguments[RunArguments].dry_run:
        values["output_dir"] = tempfile.gettempdir()  # the Trainer makes its folder; a dry run leaves none
    padded = task.max_length if task.options.pad_to_max_length else None
    parts = TrainerParts(
        model=model,
        tokenizer=task.tokenizer,
        collator=TaggingCollator.for_tokenizer(task.tokenizer, max_length=padded),
        loss=TokenLoss(weights, smoothing),
        train=task.encoded["train"].dataset if "train" in task.encoded else None,
        validation=task.encoded["validation"].dataset if "validation" in task.encoded else None,
        compute_metrics=build_piece_metrics(build_piece_score(task)),
        trimmable=True,
    )
    fast_path = task.arguments[FastPathArguments]
    return build_trainer(parts, values, run, patience=task.options.early_stopping_patience, fast_path=fast_path)


def build_piece_score(task: TaggingTask) -> Any:
    if task.is_entities:
        return partial(score_pieces, label_list=task.labels, scheme=task.scheme)
    return partial(score_piece_tags, label_list=task.labels)


def settle_class_weights(task: TaggingTask) -> list[float] | None:
    """`--class_weights balanced` from the training labels, or as a file says."""
    asked = task.options.class_weights
    if asked is None:
        return None
    if asked == "balanced":
        column = task.encoded["train"].dataset.with_format("arrow")[:]["labels"]
        weights = balance_class_weights(column.combine_chunks().flatten().to_numpy(), len(task.labels))
    else:
        weights = read_class_weights(Path(asked), task.labels)
    shown = ", ".join(f"{label} {weight:.3g}" for label, weight in zip(task.labels, weights, strict=True))
    logger.info("Class weights: %s.", shown)
    return weights


def build_decoder(task: TaggingTask) -> Decode | None:
    """Viterbi over legal tag sequences; `learned` takes transition scores from the training tags."""
    asked = task.options.constrained_decoding
    if asked is None or not task.is_entities:
        return None
    scores = None
    if asked == "learned":
        sentences = task.corpus.splits["train"]["tags"]
        ids = [task.labels.index(tag) for tag in chain.from_iterable(sentences)]
        offsets = np.concatenate([[0], np.cumsum([len(tags) for tags in sentences])])
        scores = estimate_transitions(ids, offsets, len(task.labels))
    return partial(decode_constrained, transitions=forbid_illegal(task.labels, task.scheme, scores))


def predict_split(trainer: Trainer, task: TaggingTask, name: str) -> TaggedSplit:
    """Tag a split with the model that the Trainer holds: after training, the best by validation."""
    return predict_tags(
        trainer, task.encoded[name], padding_side=task.tokenizer.padding_side, decode=build_decoder(task)
    )


def stages(arguments: Arguments, splits: dict[str, str]) -> list[str]:
    """The splits of the stages that were asked for, e.g. {"do_eval": "validation"}."""
    return [split for flag, split in splits.items() if arguments.training.get(flag)]


def reported_splits(task: TaggingTask) -> list[str]:
    """What the Thai command reports: every split that there is, but for those switched off."""
    options = task.options
    off = {"train": options.no_train_report, "validation": options.no_eval_report, "test": options.no_test_report}
    return [name for name in task.encoded if not off[name] and not (options.skip_do_eval and name == "validation")]


def save_tagger(trainer: Trainer, task: TaggingTask) -> None:
    """Model, tokenizer, and how words become its input: all that `predict.py` needs to do the same."""
    folder = Path(trainer.args.output_dir or ".")
    trainer.save_model(str(folder))
    options = task.options
    settings = TaggerSettings(
        scheme=task.scheme.value,
        max_length=task.max_length,
        stride=task.stride,
        lowercase=options.lowercase,
        space_token=find_space_token(task.tokenizer, options.space_token),
        constrained_decoding=options.constrained_decoding is not None,
    )
    settings.save(folder)


def show_plan(trainer: Trainer, task: TaggingTask) -> dict[str, Any]:
    """`--dry_run`: print examples and the estimate; returns the estimate for the last line."""
    first = next(iter(task.encoded.values())).dataset
    print(format_examples(first, task.tokenizer, task.labels))
    if trainer.train_dataset is None:
        return {"dry_run": True}
    plan = estimate_plan(trainer)
    print(format_plan(plan))
    return {"dry_run": True, **asdict(plan)}
