"""Arguments of distilling a fine-tuned tagger or classifier; its data are described as where such models are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from finetune.arguments.config_file import read_config_file
from finetune.arguments.fields import argument
from finetune.arguments.legacy import OldFlag, gone, renamed
from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.arguments.scanner import scan
from finetune.arguments.training_table import TrainingValues
from finetune.classification.arguments import check_classification
from finetune.distillation.arguments import TASKS, DistillationLossArguments
from finetune.errors import Problem, UsageError
from finetune.tagging.arguments import check_tagging

LANGUAGE_MODELING, TOKEN_CLASSIFICATION, SEQUENCE_CLASSIFICATION = TASKS
TASK_DEFAULTS: TrainingValues = {"do_train": True}
TASK_ALPHAS = ("ce", "hard", "mse", "cos", "hidden", "relation")


@dataclass
class TaskDistillationArguments:
    """Student, teacher and text."""

    OLD_FLAGS: ClassVar[dict[str, OldFlag]] = {
        "dump_path": renamed("output_dir"),
        "force": renamed("overwrite_output_dir", "bool"),
        "n_epoch": renamed("num_train_epochs"),
        "batch_size": renamed("per_device_train_batch_size"),
        "warmup_prop": renamed("warmup_steps"),
        "log_interval": renamed("logging_steps"),
        "checkpoint_interval": renamed("save_steps"),
        "n_gpu": gone("one process is started for each visible GPU, or as many as --nproc says"),
    }

    task: str = argument(TOKEN_CLASSIFICATION, choices=TASKS, help="what is distilled; each task has flags of its own")
    teacher_name: str = argument(
        metavar="NAME_OR_FOLDER", help="the teacher: a fine-tuned model with its tokenizer, labels and settings"
    )
    student_name: str | None = argument(
        None, metavar="NAME_OR_FOLDER", help="the student: an encoder, or a model of the same labels to go on with"
    )
    student_config: str | None = argument(
        None, metavar="FILE", help="instead of --student_name: configuration of a new student"
    )
    student_type: str | None = argument(
        None, help="family of the student (distilbert, bert, ...), where --student_config does not say it"
    )
    student_pretrained_weights: str | None = argument(
        None, metavar="FILE", help="with --student_config: first weights, as a file or in a model folder"
    )
    unlabelled_file: list[str] | None = argument(
        None, metavar="FILE", help="more texts, which the teacher alone labels: text, JSON lines, CoNLL; also patterns"
    )
    freeze_pos_embs: bool = argument(False, help="leave the student's position embeddings as they are")
    freeze_token_type_embds: bool = argument(False, help="leave the student's token type embeddings as they are")
    export: str | None = argument(
        None, metavar="FOLDER", help="also write the student with a card of its speed and size against the teacher"
    )

    def problems(self) -> list[Problem]:
        if bool(self.student_name) == bool(self.student_config):
            how = "both given" if self.student_name else "both missing"
            return [Problem(f"--student_name and --student_config are {how}", "exactly one of them is needed")]
        idle = [flag for flag in ("student_type", "student_pretrained_weights") if getattr(self, flag)]
        if self.student_name and idle:
            return [Problem(f"--{idle[0]} needs --student_config", f"--student_name is {self.student_name}")]
        return []


@dataclass
class TaskLossArguments(DistillationLossArguments):
    """Losses: a weight for each, 0 leaves it out."""

    alpha_hard: float = argument(0.5, minimum=0, help="the labels of the data, as without a teacher")

    def alphas(self) -> dict[str, float]:
        return {name: getattr(self, f"alpha_{name}") for name in TASK_ALPHAS}


def find_task(argv: Sequence[str]) -> str:
    """What `--task` says on the command line, or in its config file; language modelling where it says nothing known."""
    _, typed = scan(argv)
    said = [entry.words[0] for entry in typed if entry.name == "task" and entry.words]
    files = [entry.words[0] for entry in typed if entry.name == "config_file" and entry.words]
    said = said or [word for name in files for word in _task_of_file(Path(name))]
    return said[-1] if said and said[-1] in TASKS else LANGUAGE_MODELING


def _task_of_file(path: Path) -> list[str]:
    try:
        entries = read_config_file(path)
    except UsageError:
        return []  # the parser, which reads it again, says what is wrong
    return [entry.words[0] for entry in entries if entry.name == "task" and entry.words]


def resolve_teacher(arguments: Arguments) -> None:
    """It is the teacher that data and settings are matched with."""
    teacher = arguments[TaskDistillationArguments].teacher_name
    arguments.groups[ModelArguments] = ModelArguments(model_name_or_path=teacher or "")


def check_task_distillation(arguments: Arguments) -> list[Problem]:
    """Some loss has a weight, and there is data."""
    asked, losses = arguments[TaskDistillationArguments], arguments[TaskLossArguments]
    check_data = check_tagging if asked.task == TOKEN_CLASSIFICATION else check_classification
    problems = check_data(arguments)
    if not any(losses.alphas().values()):
        flags = ", ".join(f"--alpha_{name}" for name in TASK_ALPHAS)
        problems.append(Problem("all weights of losses are 0: nothing would be learnt", f"give one of {flags}"))
    if asked.unlabelled_file and not any(value for name, value in losses.alphas().items() if name != "hard"):
        found = "--unlabelled_file has no labels, and no loss compares with the teacher"
        problems.append(Problem(found, remedy="give --alpha_ce a weight"))
    if not arguments.training.get("do_train"):
        problems.append(Problem("--do_train is off", remedy="a trained student is scored by its task's own command"))
    return problems
