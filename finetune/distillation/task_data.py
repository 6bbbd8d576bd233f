"""What a student tagger or classifier learns from: the task's corpus, read as its teacher reads it, and unlabelled text."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from datasets import Dataset

from finetune.arguments.parser import Arguments
from finetune.arguments.prediction import PredictArguments
from finetune.classification import task as classification
from finetune.classification.arguments import ClassificationArguments
from finetune.classification.column_choice import ProblemType
from finetune.classification.encoding import encode_classification
from finetune.classification.glue import task as glue
from finetune.classification.glue.arguments import GlueArguments
from finetune.classification.prediction import read_pair
from finetune.classification.prediction_input import ClassificationInputs
from finetune.classification.published.cleaning import clean_corpus, make_cleaner
from finetune.classification.task import ClassificationTask, TaskDefinition
from finetune.classification.truncation import LongText
from finetune.data.corpus import Corpus, build_dataset
from finetune.data.files import find_paths
from finetune.data.prediction_input import InputText
from finetune.distillation.task import SupervisedDistillation, check_teacher, open_pair
from finetune.distillation.task_arguments import TaskDistillationArguments
from finetune.encoding.document_context import number_documents
from finetune.encoding.subwords import SubwordEncoder
from finetune.errors import DataError, Problem
from finetune.models.settings import ClassifierSettings, TaggerSettings
from finetune.tagging import task as tagging
from finetune.tagging.encoding import encode_tagging
from finetune.tagging.options import apply_settings
from finetune.tagging.prediction_input import TaggingInputs
from finetune.tagging.task import TaggingTask
from finetune.tagging.words import WordEncoder
from finetune.tokenization.loading import find_space_token

logger = logging.getLogger(__name__)

FLAG = "--unlabelled_file"


def open_tagging(arguments: Arguments) -> SupervisedDistillation:
    """A tagger's task: corpus and unlabelled texts in the windows of the teacher, both models.

    Raises:
        DataError: with what is wrong of the data, then with what is wrong of the models.
    """
    asked = arguments[TaskDistillationArguments]
    refuse(check_silver(arguments))
    saved = TaggerSettings.load(Path(asked.teacher_name))
    if saved is not None:
        apply_settings(arguments, saved)
    task = tagging.open_task(arguments)
    refuse(check_teacher(asked, task.labels, is_numeric=False))
    segmenter = task.options.word_segmenter or "auto"
    unlabelled = PredictArguments(input_file=asked.unlabelled_file)
    texts, files = read_unlabelled(asked, TaggingInputs(unlabelled, task.labels, segmenter))
    unlabelled_rows, empty = encode_sentences(task, texts, segmenter)
    tell_empty(empty)
    return open_pair(arguments, task, max_length=task.max_length, unlabelled=unlabelled_rows, files=files)


def encode_sentences(task: TaggingTask, texts: list[InputText], segmenter: str) -> tuple[Dataset | None, int]:
    """Windows of unlabelled sentences, in the columns of the labelled ones, and how many sentences were empty."""
    split = [text.split(segmenter)[0] for text in texts]
    kept = [(text, words) for text, words in zip(texts, split, strict=True) if words]
    if not kept:
        return None, len(texts)
    keys = [None if text.document is None else (text.path, text.document) for text, _ in kept]
    space_token = find_space_token(task.tokenizer, task.options.space_token)
    encoded = encode_tagging(
        build_dataset({"words": [words for _, words in kept], "document": number_documents(keys)}),
        task.tokenizer,
        task.labels,
        max_length=task.max_length,
        stride=task.stride,
        context=task.context,
        encoder=WordEncoder(task.tokenizer, lowercase=task.options.lowercase, space_token=space_token),
        name="unlabelled",
    )
    return encoded.dataset, len(texts) - len(kept)


def open_classification(arguments: Arguments) -> SupervisedDistillation:
    """A classifier's task: corpus and unlabelled texts cleaned and cut as for the teacher, both models.

    Raises:
        DataError: with what is wrong of the data, then with what is wrong of the models.
    """
    asked = arguments[TaskDistillationArguments]
    refuse(check_silver(arguments))
    definition = read_as_teacher(arguments, ClassifierSettings.load(Path(asked.teacher_name)))
    task = classification.open_task(arguments, definition)
    refuse(check_teacher(asked, task.labels, is_numeric=task.problem_type is ProblemType.REGRESSION))
    unlabelled = PredictArguments(input_file=asked.unlabelled_file)
    texts, files = read_unlabelled(asked, ClassificationInputs(unlabelled, task.settings, task.labels))
    kept = [text for text in texts if text.text.strip()]
    tell_empty(len(texts) - len(kept))
    length = task.settings.max_length or 0
    return open_pair(arguments, task, max_length=length, unlabelled=encode_texts(task, kept), files=files)


def read_as_teacher(arguments: Arguments, saved: ClassifierSettings | None) -> TaskDefinition:
    """The definition of run_glue.py with the teacher's cleaning, lengths and casing, wherever no flag says otherwise."""
    if saved is None:
        return glue.define_task(arguments)
    options = arguments[ClassificationArguments]
    trained_with = {"max_seq_length": saved.max_length, "long_text": saved.long_text, "stride": saved.stride}
    for name, value in trained_with.items():
        if name not in arguments.typed:
            setattr(options, name, value)
    if saved.lowercase and not saved.cleaning and "do_lower_case" not in arguments.typed:
        arguments[GlueArguments].do_lower_case = True
    definition = glue.define_task(arguments)
    lowercase = definition.settings.lowercase or saved.lowercase
    settings = replace(definition.settings, cleaning=saved.cleaning, space_token=saved.space_token, lowercase=lowercase)
    shown = ", ".join(f"{name} {value}" for name, value in {**trained_with, "cleaning": saved.cleaning}.items())
    logger.info("As the teacher was trained: %s.", shown)
    read = partial(read_cleaned, definition.read, make_cleaner(settings)) if saved.cleaning else definition.read
    return replace(definition, read=read, space_token=saved.space_token, settings=settings)


def read_cleaned(read: Callable[[Arguments], Corpus], clean: Callable[[str], str], arguments: Arguments) -> Corpus:
    corpus = read(arguments)
    clean_corpus(corpus, clean)
    return corpus


def encode_texts(task: ClassificationTask, texts: list[InputText]) -> Dataset | None:
    """Rows of unlabelled texts, in the columns of the labelled ones.

    Raises:
        DataError: the teacher reads pairs, and a text is none.
    """
    if not texts:
        return None
    clean, settings = make_cleaner(task.settings), task.settings
    pairs = [read_pair(text) for text in texts] if settings.pairs else [(text.text, "") for text in texts]
    columns = {"text": [clean(first) for first, _ in pairs]}
    if settings.pairs:
        columns["text_pair"] = [clean(second) for _, second in pairs]
    encoded = encode_classification(
        build_dataset(columns),
        task.tokenizer,
        task.labels,
        task.problem_type,
        max_length=settings.max_length or 0,
        long_text=LongText(settings.long_text),
        stride=settings.stride,
        encoder=SubwordEncoder(task.tokenizer),
        name="unlabelled",
    )
    return encoded.dataset


def read_unlabelled(
    asked: TaskDistillationArguments, inputs: TaggingInputs | ClassificationInputs
) -> tuple[list[InputText], list[Path]]:
    """The texts of --unlabelled_file, and its files.

    Raises:
        DataError: a file is missing or not UTF-8, or a line is not of its format.
    """
    if not asked.unlabelled_file:
        return [], []
    files = [path for pattern in asked.unlabelled_file for path in find_paths(pattern, flag=FLAG)]
    return list(inputs.read(flag=FLAG)), files


def check_silver(arguments: Arguments) -> list[Problem]:
    """A student learns what its teacher says, so labels of another model, and weights, are of no use."""
    what = {
        "silver_file": f"give its texts with {FLAG}",
        "weight_column": "drop it",
        "r_drop": "drop it",
        "fgm": "drop it",
    }
    return [
        Problem(f"--{flag} is for training without a teacher", remedy=remedy)
        for flag, remedy in what.items()
        if arguments.get(flag)
    ]


def tell_empty(number: int) -> None:
    if number:
        logger.warning("%s empty lines of %s were left out.", f"{number:,}", FLAG)


def refuse(problems: list) -> None:
    if problems:
        raise DataError(*problems)
