"""Token classification, step by step in the order data flows: from arguments to encoded sentences."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.data.corpus import Corpus
from finetune.encoding.document_context import DocumentContext, choose_context
from finetune.encoding.labels import PreparedTags, build_label_list, prepare_tags
from finetune.encoding.tag_column import TagColumn
from finetune.encoding.tags import OUTSIDE, StrangeTagsError, TagScheme, detect_scheme
from finetune.errors import DataError, ProblemList
from finetune.models.checks import list_labels, match_head, name_labels, resolve_max_length
from finetune.models.loading import load_config
from finetune.models.settings import TaggerSettings
from finetune.supervised.opening import check_best_metric, check_pretrained, require_splits
from finetune.supervised.row_weights import WEIGHT, scale_weights
from finetune.supervised.task import SupervisedTask
from finetune.supervised.training import open_class_weights, resolve_class_weights
from finetune.tagging import metrics as tagging
from finetune.tagging import pos_metrics as pos
from finetune.tagging.arguments import TaggingArguments, TaggingDataArguments
from finetune.tagging.checks import describe_unlearnable, place_strange_tags
from finetune.tagging.corpora import NAMED
from finetune.tagging.corpus import load_tagging_corpus
from finetune.tagging.encoding import EncodedTagging, encode_tagging
from finetune.tagging.evaluation import build_subword_metrics
from finetune.tagging.opening import guess_tagger_settings
from finetune.tagging.options import adopt_settings, find_transitions, resolve_word_segmenter
from finetune.tagging.published.thainer import filter_long_tests
from finetune.tagging.row_weights import WeightedTokenLoss, count_labelled, weigh_labels
from finetune.tagging.viterbi import TransitionScores
from finetune.tagging.words import WordEncoder
from finetune.tokenization.loading import find_space_token, load_tokenizer
from finetune.training.building import TrainerParts
from finetune.training.callbacks import CheckpointFiles
from finetune.training.collators import TaggingCollator
from finetune.training.dry_run import format_examples
from finetune.training.evaluation_schedule import resolve_schedule
from finetune.training.losses import TokenLoss, balance_class_weights, take_label_smoothing

logger = logging.getLogger(__name__)

TASK = "token_classification"
LONGEST_DEFAULT_STRIDE = 32


@dataclass(kw_only=True)
class TaggingTask(SupervisedTask):
    """A tagger's task; `transitions` are those of `--constrained_decoding learned`."""

    scheme: TagScheme
    max_length: int
    transitions: TransitionScores | None = None

    head = TASK
    hub_task = "token-classification"

    @property
    def options(self) -> TaggingArguments:
        return self.arguments[TaggingArguments]

    @property
    def stride(self) -> int:
        """Subwords that neighbouring windows share; without --stride a quarter of a window, at most 32."""
        typed = self.options.stride
        return min(LONGEST_DEFAULT_STRIDE, self.max_length // 4) if typed is None else typed

    @cached_property
    def context(self) -> DocumentContext:
        """What of its document is read around a sentence."""
        options = self.options
        return choose_context(options.document_context, separated=options.context_separator, tokenizer=self.tokenizer)

    @property
    def is_entities(self) -> bool:
        """Whether tags spell entities (scored by spans) or are one label per word (scored by words)."""
        return self.scheme is not TagScheme.POS

    @property
    def padded_length(self) -> int | None:
        return self.max_length if self.options.pad_to_max_length else None

    def build_parts(self, model: PreTrainedModel) -> TrainerParts:
        smoothing, _ = take_label_smoothing(self.values)
        train, loss = self.rows("train"), TokenLoss(resolve_class_weights(self), smoothing)
        if train is not None and WEIGHT in self.corpus.splits["train"].column_names:
            own = self.corpus.splits["train"][WEIGHT][:]
            weights = scale_weights(own, count_labelled(train, len(own))).tolist()
            train, table = weigh_labels(train, weights, len(self.labels))
            loss = WeightedTokenLoss(table, len(self.labels), resolve_class_weights(self), smoothing)
        return TrainerParts(
            model=model,
            tokenizer=self.tokenizer,
            collator=TaggingCollator.for_tokenizer(self.tokenizer, max_length=self.padded_length),
            loss=loss,
            train=train,
            validation=self.rows("validation"),
            compute_metrics=build_subword_metrics(self.build_score()),
            callbacks=[CheckpointFiles(self.make_settings().save)],
            sparse_embedding=True,
        )

    def build_score(self) -> Callable[..., dict[str, float]]:
        """The metrics of subwords during training."""
        if self.is_entities:
            return partial(tagging.score_subwords, label_list=self.labels, scheme=self.scheme)
        return partial(pos.score_subword_tags, label_list=self.labels)

    def balance_weights(self) -> list[float]:
        column = self.encoded["train"].dataset.with_format("arrow")[:]["labels"]
        return balance_class_weights(column.combine_chunks().flatten().to_numpy(), len(self.labels))

    def make_settings(self) -> TaggerSettings:
        options = self.options
        return TaggerSettings(
            scheme=self.scheme.value,
            max_length=self.max_length,
            stride=self.stride,
            lowercase=options.lowercase,
            space_token=find_space_token(self.tokenizer, options.space_token),
            word_segmenter=options.word_segmenter or "auto",
            document_context=options.document_context,
            context_separator=options.document_context > 0 and options.context_separator,
            constrained_decoding=options.constrained_decoding is not None,
            transitions=None if self.transitions is None else self.transitions.as_table(),
        )

    def format_examples(self) -> str:
        return format_examples(next(iter(self.encoded.values())).dataset, self.tokenizer, self.labels)

    def describe_data(self) -> dict[str, str]:
        data = self.arguments[TaggingDataArguments]
        name = data.dataset_name
        return {
            "dataset": name or data.data_dir or next(iter(data.files.values())),
            "hub_dataset": NAMED[name].hub if name in NAMED else name or "",
        }

    def describe_training(self) -> dict[str, Any]:
        context = self.options.document_context
        read = {"document_context": context} if context else {}
        return {"max_length": self.max_length, "tag_scheme": self.scheme.value, **read}


def open_task(arguments: Arguments) -> TaggingTask:
    """Read data, tokenizer and configuration, check them together, and encode.

    Raises:
        DataError: with every problem of all of them.
    """
    problems = ProblemList()
    model, training = arguments[ModelArguments], arguments.training
    saved = problems.attempt(adopt_settings, arguments)
    opened = problems.attempt(open_corpus, arguments, saved)
    tokenizer = problems.attempt(open_tokenizer, arguments)
    config = problems.attempt(load_config, model)
    options = arguments[TaggingArguments]
    is_pos = opened is not None and opened.scheme is TagScheme.POS
    has_validation = bool(training.get("do_eval")) and has_split(opened, "validation")
    main = "accuracy" if is_pos else "f1"
    values = problems.attempt(resolve_schedule, training, has_validation=has_validation, main_metric=main)
    known = ("loss", *(pos.SUBWORD_METRICS if is_pos else tagging.SUBWORD_METRICS))
    problems.extend(check_best_metric(training.get("metric_for_best_model"), known) if opened else [])
    problems.extend(check_pretrained(arguments, TASK, options.max_length, "--max_length", config, tokenizer))
    labels = problems.attempt(find_labels, opened, config, trains=bool(training.get("do_train")))
    if config is not None and labels is not None:
        match = match_head(config, labels, trains=bool(training.get("do_train")), folder=model.model_name_or_path)
        problems.extend(match.problems)
        weights = problems.attempt(open_class_weights, options.class_weights, match.labels)
    problems.raise_any(DataError)
    assert opened and tokenizer is not None and config is not None and values is not None
    name_labels(config, match.labels)
    knows_scheme = saved or is_labelled(opened)
    of_labels = TagColumn.of_sequences([label] for label in match.labels)
    options.word_segmenter, remarks = resolve_word_segmenter(options.word_segmenter, opened.corpus.splits)
    for remark in remarks:
        logger.warning("%s", remark)
    task = TaggingTask(
        arguments=arguments,
        corpus=opened.corpus,
        scheme=opened.scheme if knows_scheme else detect_scheme(of_labels),
        tokenizer=tokenizer,
        config=config,
        labels=match.labels,
        new_head=match.new_head,
        values=values,
        max_length=resolve_max_length(options.max_length, config, tokenizer),
        class_weights=weights,
        notes=[*opened.corpus.notes, *opened.notes, *remarks],
    )
    task.encoded = encode_splits(task)
    task.notes += [note for encoded in task.encoded.values() for note in encoded.notes]
    task.transitions = find_transitions(arguments, task.corpus, task.labels, saved)
    return task


def has_split(opened: PreparedTags | None, name: str) -> bool:
    """Whether the split is there; a corpus that could not be read is taken to have it, to check the rest."""
    return opened is None or name in opened.corpus.splits


def is_labelled(opened: PreparedTags) -> bool:
    return any("tags" in split.column_names for split in opened.corpus.splits.values())


def find_labels(opened: PreparedTags | None, config: PretrainedConfig | None, *, trains: bool) -> list[str] | None:
    """The labels of the data; of the model where only unlabelled sentences are to be tagged.

    Raises:
        DataError: neither has any.
    """
    if opened is None:
        return None
    if trains or config is None:
        return build_label_list(opened.corpus)
    known = guess_tagger_settings(list_labels(config))[0]
    if not is_labelled(opened) and not opened.corpus.labels:
        return known
    return leave_unknown_tests(opened.corpus, build_label_list(opened.corpus), known)


def leave_unknown_tests(corpus: Corpus, labels: list[str], known: list[str]) -> list[str]:
    """The labels that a model must have to be scored: without those of test alone that it lacks, as they are scored as
    missed; all of them where it shares none but the one of words outside.
    """
    tags = {name: set(TagColumn.of_split(rows).names) for name, rows in corpus.splits.items()}
    elsewhere = set().union(*(names for name, names in tags.items() if name not in ("test", "train")))
    kept = [label for label in labels if label in known or label in elsewhere]
    missing = tags.get("test", set()) - set(known)
    if missing and {*kept} & {*known} - {OUTSIDE}:
        notes = describe_unlearnable(corpus, known, "the model")
        for note in notes:
            logger.warning("%s", note)
        corpus.notes += notes
        return kept
    return labels


def open_corpus(arguments: Arguments, saved: TaggerSettings | None) -> PreparedTags:
    """The corpus with its tags spelt one way, and their scheme; every count is logged."""
    training, task_name = arguments.training, arguments[TaggingArguments].task_name
    data = arguments[TaggingDataArguments]
    if task_name != "ner" and data.label_name is None:
        data = replace(data, label_name=f"{task_name}_tags")
    needs_validation = bool(training.get("do_eval"))
    corpus = load_tagging_corpus(
        data,
        seed=int(arguments.get("seed", 42)),
        validation_needed=needs_validation,
        segmenter=arguments[TaggingArguments].word_segmenter or "auto",
        silver=arguments[TaggingArguments],
        documents=arguments[TaggingArguments].document_context > 0,
        trains=bool(training.get("do_train")),
    )
    filter_tests(corpus, arguments)
    is_pos = task_name == "pos" or "pos" in (data.label_name or "")
    known = TagScheme(saved.scheme) if saved else None
    try:
        prepared = prepare_tags(corpus, fix_labels=data.fix_labels, scheme=TagScheme.POS if is_pos else known)
    except StrangeTagsError as error:
        raise place_strange_tags(corpus, error) from error
    for note in prepared.notes:
        logger.info("%s", note)
    require_splits(prepared.corpus, training, "tags")
    return prepared


def filter_tests(corpus: Corpus, arguments: Arguments) -> None:
    """`--filter_thainer_with_mbert_tokenizer_threshold`: leave out test sentences that multilingual BERT would have cut."""
    threshold = arguments[TaggingDataArguments].filter_thainer_with_mbert_tokenizer_threshold
    if threshold is None:
        return
    model = arguments[ModelArguments]
    mbert = replace(model, model_name_or_path="mbert", tokenizer_name_or_path=None, tokenizer_type="skip")
    filter_long_tests(corpus, load_tokenizer(mbert).tokenize, threshold)


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
            context=task.context,
            label_all_tokens=options.label_all_tokens,
            continue_labels=options.continue_labels,
            encoder=encoder,
            name=name,
            files=task.corpus.files.get(name, ()),
            others_scored=name == "test",
        )
        for name, split in task.corpus.splits.items()
    }
    problems.raise_any()
    return {name: split for name, split in encoded.items() if split is not None}


def reported_splits(task: TaggingTask) -> list[str]:
    """What the Thai command reports: every split that there is, but for those switched off."""
    options = task.options
    off = {"train": options.no_train_report, "validation": options.no_eval_report, "test": options.no_test_report}
    return [name for name in task.encoded if not off[name] and not (options.skip_do_eval and name == "validation")]
