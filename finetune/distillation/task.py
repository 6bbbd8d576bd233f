"""Distilling a tagger or a classifier, step by step: the task as its teacher was trained on it, teacher, student, texts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from datasets import Dataset
from datasets.table import InMemoryTable
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.classification.task import ClassificationTask
from finetune.data.json_values import parse_json
from finetune.distillation.checks import check_relations
from finetune.distillation.comparing import describe_difference
from finetune.distillation.task_arguments import TaskDistillationArguments, TaskLossArguments
from finetune.distillation.teacher_cache import CACHED_PROBLEM_TYPES
from finetune.distillation.teachers import freeze_parts, read_weights, start_student
from finetune.encoding.labels import match_labels
from finetune.errors import DataError, Problem, ProblemList
from finetune.models.building import draw_model
from finetune.models.checks import check_head, list_labels, name_labels
from finetune.models.families import find_position_limit
from finetune.models.loading import HEADS, check_weights, load_config, load_model
from finetune.models.padding import resolve_padding
from finetune.run.failures import first_line, is_of_its_files
from finetune.tagging.task import TaggingTask
from finetune.tokenization.loading import load_tokenizer, resolve_name

logger = logging.getLogger(__name__)


@dataclass
class SupervisedDistillation:
    """Everything that is checked; nothing in it is wrong. `task` is the teacher's; `train` holds unlabelled texts, too."""

    arguments: Arguments
    task: TaggingTask | ClassificationTask
    teacher: PreTrainedModel
    student: PreTrainedModel
    train: Dataset
    unlabelled: int
    files: list[Path]  # of the unlabelled texts

    @property
    def asked(self) -> TaskDistillationArguments:
        return self.arguments[TaskDistillationArguments]

    @property
    def losses(self) -> TaskLossArguments:
        return self.arguments[TaskLossArguments]

    @property
    def problem_type(self) -> str:
        """That of a classifier's configuration, "" for a tagger."""
        return self.task.problem_type.value if isinstance(self.task, ClassificationTask) else ""


def check_teacher(asked: TaskDistillationArguments, data_labels: Sequence[str], *, is_numeric: bool) -> list[Problem]:
    """The teacher must be fine-tuned for this task, on (at least) the labels of the data."""
    name = asked.teacher_name
    config = load_config(ModelArguments(model_name_or_path=name))
    problems = [
        replace(problem, remedy=f"give a fine-tuned model for {asked.task}", path=name)
        for problem in check_weights(ModelArguments(model_name_or_path=name))
    ]
    if not has_head(config, asked.task):
        found = f"the teacher is a {' or '.join(config.architectures or ['model without a head'])}"
        allowed = f"a fine-tuned model for {asked.task.replace('_', ' ')} is needed"
        return [*problems, Problem(found, allowed, path=name)]
    if is_numeric:
        return problems
    try:
        match_labels(list_labels(config), data_labels, folder=name)
    except DataError as error:
        remedy = "distil a teacher that was trained on these labels"
        problems += [replace(problem, remedy=remedy) for problem in error.problems]
    return problems


def has_head(config: PretrainedConfig, task: str) -> bool:
    """Whether a checkpoint of this configuration was saved with the head of the task."""
    suffix = HEADS[task].removeprefix("AutoModel")
    return any(name.endswith(suffix) for name in config.architectures or ())


def read_student_config(asked: TaskDistillationArguments) -> PretrainedConfig:
    """Of --student_name, or in --student_config.

    Raises:
        DataError: there is none, or none that transformers knows.
    """
    if asked.student_name:
        return load_config(ModelArguments(model_name_or_path=asked.student_name))
    path = Path(str(asked.student_config))
    path = path / "config.json" if path.is_dir() else path
    try:
        written = parse_json(path.read_text(encoding="utf-8"))
        family = written.pop("model_type", asked.student_type)
        config = AutoConfig.for_model(asked.student_type or family, **written)
    except Exception as error:
        if not is_of_its_files(error):
            raise
        raise DataError(Problem(f"--student_config cannot be used: {first_line(error)}", path=path)) from error
    if family != config.model_type:
        raise DataError(Problem(f"--student_type is {asked.student_type}, the file is of a {family} model", path=path))
    return config


def check_student(
    config: PretrainedConfig,
    asked: TaskDistillationArguments,
    task: TaggingTask | ClassificationTask,
    max_length: int,
) -> list[Problem]:
    """One vocabulary, room for the longest input, a head of this kind, and the teacher's labels where it has labels."""
    theirs, problems = task.config, check_head(config, asked.task)
    place = asked.student_name or asked.student_config
    if config.vocab_size != theirs.vocab_size:
        found = f"the student has {config.vocab_size:,} entries in its vocabulary, the teacher {theirs.vocab_size:,}"
        problems.append(Problem(found, "both read the same ids", path=place))
    elif asked.student_name:
        problems += check_tokenizers(asked.student_name, task.tokenizer)
    limit = find_position_limit(config)
    if limit is not None and max_length > limit:
        found = f"the student has {limit} positions, and the input is up to {max_length} subwords long"
        problems.append(Problem(found, remedy=f"say --max_length {limit}", path=place))
    if asked.student_name and has_head(config, asked.task) and len(task.labels) > 1:
        problems += check_labels(list_labels(config), task.labels, asked.student_name)
    return problems


def check_tokenizers(student: str, tokenizer: PreTrainedTokenizerBase) -> list[Problem]:
    """The student's own tokenizer, where it has one, must number the same subwords."""
    if not (Path(resolve_name(student)) / "tokenizer_config.json").is_file():
        return []
    own = load_tokenizer(ModelArguments(model_name_or_path=student))
    difference = describe_difference(own, tokenizer, ("the student", "the teacher"))
    return [Problem(f"student and teacher read other ids: {difference}", path=student)] if difference else []


def check_labels(own: Sequence[str], labels: Sequence[str], place: str) -> list[Problem]:
    """A student that has labels already must have the teacher's, in the teacher's order."""
    with suppress(DataError):  # what differs is told from both sides
        own = match_labels(own, labels, folder=place)
    if list(own) == list(labels):
        return []
    missing = [label for label in labels if label not in own]
    surplus = [label for label in own if label not in labels]
    parts = [f"it lacks {', '.join(missing)}"] if missing else []
    parts += [f"the teacher does not know its {', '.join(surplus)}"] if surplus else []
    parts = parts or [f"they stand in another order ({', '.join(own)}; the teacher's: {', '.join(labels)})"]
    remedy = "give its encoder without labels: --student_config FOLDER --student_pretrained_weights ENCODER"
    return [Problem(f"the student's labels are not the teacher's: {'; '.join(parts)}", remedy=remedy, path=place)]


def open_student(
    config: PretrainedConfig, asked: TaskDistillationArguments, task: TaggingTask | ClassificationTask
) -> PreTrainedModel:
    """The student with the teacher's labels, its first weights, and what is to stay frozen.

    Raises:
        DataError: weights that are damaged, or of another shape.
    """
    is_trained = has_head(config, asked.task)
    name_labels(config, task.labels)
    config.problem_type = task.config.problem_type
    resolve_padding(config, task.tokenizer)
    if asked.student_name:
        source = ModelArguments(model_name_or_path=asked.student_name)
        student = load_model(source, config, task.tokenizer, task=asked.task, new_head=not is_trained)
    else:
        student = draw_model(config, task=asked.task)
        if asked.student_pretrained_weights:
            path = Path(asked.student_pretrained_weights)
            start_student(student, read_weights(path), path)
    freeze_parts(student, positions=asked.freeze_pos_embs, token_types=asked.freeze_token_type_embds)
    return student


def open_pair(
    arguments: Arguments,
    task: TaggingTask | ClassificationTask,
    *,
    max_length: int,
    unlabelled: Dataset | None,
    files: list[Path],
) -> SupervisedDistillation:
    """Check and load both models.

    Raises:
        DataError: with every problem of both.
    """
    asked, losses, problems = arguments[TaskDistillationArguments], arguments[TaskLossArguments], ProblemList()
    config = problems.attempt(read_student_config, asked)
    if config is not None:
        problems.extend(check_student(config, asked, task, max_length))
    problems.raise_any()
    assert config is not None
    set_seed(int(arguments.get("seed", 42)))  # the student's new weights are drawn here
    student = open_student(config, asked, task)
    source = ModelArguments(model_name_or_path=asked.teacher_name)
    teacher = load_model(source, task.config, task.tokenizer, task=asked.task, new_head=False)
    problems.extend(check_relations(student, teacher, losses))
    train = task.encoded["train"].dataset
    distilled = SupervisedDistillation(
        arguments, task, teacher, student, train if unlabelled is None else join(train, unlabelled),
        0 if unlabelled is None else len(unlabelled), files,
    )  # fmt: skip
    if losses.cache_teacher is not None and distilled.problem_type not in CACHED_PROBLEM_TYPES:
        found = f"--cache_teacher keeps the top-k logits, and this is a {distilled.problem_type.replace('_', ' ')} task"
        problems.append(Problem(found, "it serves tasks with one label out of several", "drop it"))
    problems.raise_any()
    return distilled


def join(labelled: Dataset, unlabelled: Dataset) -> Dataset:
    """Rows of both, in memory, in one table (no index mapping to slow down reading)."""
    first, second = (rows.with_format("arrow")[:] for rows in (labelled, unlabelled))
    return Dataset(InMemoryTable(pa.concat_tables([first, second.select(first.column_names).cast(first.schema)])))
