"""Token classification, step by step in the order data flows: from arguments to encoded sentences."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from finetune.arguments.model import ModelArguments
from finetune.arguments.nearest import allowed_values
from finetune.arguments.parser import Arguments
from finetune.arguments.training_table import TrainingValues
from finetune.data.corpus import Corpus
from finetune.encoding.labels import PreparedTags, build_label_list, prepare_tags
from finetune.encoding.tag_column import TagColumn
from finetune.encoding.tags import OUTSIDE, TagScheme, detect_scheme
from finetune.errors import DataError, Problem, ProblemList
from finetune.models.checks import (
    check_head,
    check_max_length,
    check_vocabulary,
    list_labels,
    match_head,
    name_labels,
    resolve_max_length,
)
from finetune.models.loading import check_weights, load_config
from finetune.models.settings import TaggerSettings, guess_tagger_settings
from finetune.tagging import metrics as tagging
from finetune.tagging import pos_metrics as pos
from finetune.tagging.arguments import TaggingArguments, TaggingDataArguments
from finetune.tagging.checks import describe_unlearnable
from finetune.tagging.corpus import load_tagging_corpus
from finetune.tagging.encoding import EncodedTagging, encode_tagging
from finetune.tagging.options import adopt_settings, find_transitions, open_class_weights, resolve_word_segmenter
from finetune.tagging.published.thainer import filter_long_tests
from finetune.tagging.viterbi import TransitionScores
from finetune.tagging.words import WordEncoder
from finetune.tokenization.loading import find_space_token, load_tokenizer
from finetune.training.evaluation_schedule import resolve_schedule

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
    values: TrainingValues  # TrainingArguments by name, settled
    max_length: int
    class_weights: list[float] | None  # of --class_weights FILE
    notes: list[str]  # sentences with counts: what was done to the corpus and its sentences
    encoded: dict[str, EncodedTagging] = field(default_factory=dict)
    transitions: TransitionScores | None = None  # of --constrained_decoding learned

    @property
    def options(self) -> TaggingArguments:
        return self.arguments[TaggingArguments]

    @property
    def stride(self) -> int:
        """Subwords that neighbouring windows share; without --stride a quarter of a window, at most 32."""
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
    saved = problems.attempt(adopt_settings, arguments)
    opened = problems.attempt(open_corpus, arguments, saved)
    tokenizer = problems.attempt(open_tokenizer, arguments)
    config = problems.attempt(load_config, model)
    values = problems.attempt(
        resolve_schedule, training, has_validation=bool(training.get("do_eval")) and has_split(opened, "validation")
    )
    if opened is not None:
        problems.extend(check_best_metric(training, opened.scheme))
    problems.extend(check_model(arguments, config, tokenizer))
    labels = problems.attempt(find_labels, opened, config, trains=bool(training.get("do_train")))
    if config is not None and labels is not None:
        match = match_head(config, labels, trains=bool(training.get("do_train")), folder=model.model_name_or_path)
        problems.extend(match.problems)
        weights = problems.attempt(open_class_weights, arguments, match.labels)
    problems.raise_any(DataError)
    assert opened and tokenizer is not None and config is not None and values is not None
    name_labels(config, match.labels)
    knows_scheme = saved or is_labelled(opened)
    of_labels = TagColumn.of_sequences([label] for label in match.labels)
    options = arguments[TaggingArguments]
    options.word_segmenter, remarks = resolve_word_segmenter(options.word_segmenter, opened.corpus.splits)
    for remark in remarks:
        logger.warning("%s", remark)
    task = TaggingTask(
        arguments,
        opened.corpus,
        opened.scheme if knows_scheme else detect_scheme(of_labels),
        tokenizer,
        config,
        match.labels,
        match.new_head,
        values,
        resolve_max_length(arguments[TaggingArguments].max_length, config, tokenizer),
        weights,
        notes=[*opened.corpus.notes, *opened.notes, *remarks],
    )
    task.encoded = encode_splits(task)
    task.notes += [note for encoded in task.encoded.values() for note in encoded.notes]
    task.transitions = find_transitions(arguments, task.corpus, task.labels, saved)
    return task


def has_split(opened: PreparedTags | None, name: str) -> bool:
    """Whether the split is there; a corpus that could not be read is taken to have it, to judge the rest."""
    return opened is None or name in opened.corpus.splits


def check_model(
    arguments: Arguments, config: PretrainedConfig | None, tokenizer: PreTrainedTokenizerBase | None
) -> list[Problem]:
    """What can be said against model and tokenizer before weights are read; what could not be opened is None."""
    problems = check_weights(arguments[ModelArguments])
    if config is not None:
        problems += check_head(config, TASK)
        problems += check_max_length(arguments[TaggingArguments].max_length, config)
    if config is not None and tokenizer is not None:
        problems += check_vocabulary(config, tokenizer)
    return problems


def check_best_metric(training: TrainingValues, scheme: TagScheme) -> list[Problem]:
    """`--metric_for_best_model` must be a figure that validation has, which transformers sees after the first one."""
    known = ("loss", *(pos.PIECE_FIGURES if scheme is TagScheme.POS else tagging.PIECE_FIGURES))
    asked = training.get("metric_for_best_model")
    if asked is None or asked.removeprefix("eval_") in known:
        return []
    return [Problem(f"--metric_for_best_model is {asked!r}", allowed_values(asked, known))]


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
        trains=bool(training.get("do_train")),
    )
    filter_tests(corpus, arguments)
    is_pos = task_name == "pos" or "pos" in (data.label_name or "")
    known = TagScheme(saved.scheme) if saved else None
    prepared = prepare_tags(corpus, fix_labels=data.fix_labels, scheme=TagScheme.POS if is_pos else known)
    for note in prepared.notes:
        logger.info("%s", note)
    require_stages(prepared.corpus, training)
    return prepared


def filter_tests(corpus: Corpus, arguments: Arguments) -> None:
    """`--filter_thainer_with_mbert_tokenizer_threshold`: leave out test sentences that multilingual BERT would have cut."""
    threshold = arguments[TaggingDataArguments].filter_thainer_with_mbert_tokenizer_threshold
    if threshold is None:
        return
    model = arguments[ModelArguments]
    mbert = replace(model, model_name_or_path="mbert", tokenizer_name_or_path=None, tokenizer_type="skip")
    filter_long_tests(corpus, load_tokenizer(mbert).tokenize, threshold)


def require_stages(corpus: Corpus, training: TrainingValues) -> None:
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
            others_scored=name == "test",
        )
        for name, split in task.corpus.splits.items()
    }
    problems.raise_any()
    return {name: split for name, split in encoded.items() if split is not None}


def stages(arguments: Arguments, splits: dict[str, str]) -> list[str]:
    """The splits of the stages that were asked for, e.g. {"do_eval": "validation"}."""
    return [split for flag, split in splits.items() if arguments.training.get(flag)]


def reported_splits(task: TaggingTask) -> list[str]:
    """What the Thai command reports: every split that there is, but for those switched off."""
    options = task.options
    off = {"train": options.no_train_report, "validation": options.no_eval_report, "test": options.no_test_report}
    return [name for name in task.encoded if not off[name] and not (options.skip_do_eval and name == "validation")]
