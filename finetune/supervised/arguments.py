"""What every command that learns from labels takes, and what is wrong with it before anything is read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from finetune.arguments.fields import argument
from finetune.arguments.parser import Arguments
from finetune.errors import Problem

STAGES = {"do_train": "train", "do_eval": "validation", "do_predict": "test"}


@dataclass
class SupervisedArguments:
    """Learning from labels, whatever the task."""

    class_weights: str | None = argument(
        None,
        metavar="balanced|FILE",
        help="weight of each label in the loss: balanced, or a file of `label weight` lines or a JSON object",
    )
    weight_column: str | None = argument(
        None,
        metavar="COLUMN",
        help="the column of what each training row (text, sentence) weighs in the loss, from 0 on, as against the others: 2 "
        "counts as the row twice; validation and test are never weighted",
    )
    silver_file: list[str] | None = argument(
        None,
        metavar="FILE",
        help="training examples that a model or a rule labelled, several files or patterns, beside the gold ones of train; "
        "validation and test stay gold",
    )
    silver_weight: float = argument(
        1.0, minimum=0.0, help="what a silver example weighs in the loss, where a gold one weighs 1"
    )
    r_drop: float = argument(
        0.0,
        minimum=0.0,
        metavar="ALPHA",
        help="read each batch twice and let both answers, which differ by dropout, agree (R-Drop, Liang et al. 2021); 0 "
        "is off, 1 to 5 are usual",
    )
    fgm: float = argument(
        0.0,
        minimum=0.0,
        metavar="EPSILON",
        help="learn each batch a second time, its embeddings moved by a vector of this length against the gradient (FGM, "
        "Miyato et al. 2017); 0 is off",
    )
    early_stopping_patience: int | None = argument(
        None, minimum=1, help="stop after N evaluations without a better score"
    )
    pad_to_max_length: bool = argument(False, help="pad every batch to the longest input, not to its own longest row")


def list_scored(arguments: Arguments) -> list[str]:
    """The splits of the stages after training that were asked for."""
    return [split for flag, split in STAGES.items() if flag != "do_train" and arguments.training.get(flag)]


def check_supervised(arguments: Arguments, files: Collection[str], *, has_source: bool) -> list[Problem]:
    """What only shows when the groups are seen together: nothing to do, stages without data, idle options.

    Args:
        arguments: all of them.
        files: the splits (train, validation, test) whose files were typed.
        has_source: whether a folder, a named data set or a task of ours holds the data.
    """
    stages = [flag for flag in STAGES if arguments.get(flag)]
    if not stages:
        return [Problem("there is nothing to do", remedy="add --do_train, --do_eval or --do_predict")]
    missing = [] if has_source else _missing_data(arguments, stages, files)
    idle = [*_idle_patience(arguments, stages), *_idle_weights(arguments, stages), *_idle_silver(arguments, stages)]
    idle += [
        Problem(f"--{flag} needs training", remedy="add --do_train, or drop it")
        for flag in ("r_drop", "fgm")
        if arguments.get(flag) and "do_train" not in stages
    ]
    return [*missing, *idle]


def _missing_data(arguments: Arguments, stages: list[str], files: Collection[str]) -> list[Problem]:
    typed = [flag for flag in stages if flag in arguments.typed]  # others are habits of the command
    if not files and not typed:
        return [Problem("there is no data", remedy="add --train_file, --data_dir or --dataset_name")]
    made = {"validation"} if "train" in files and "do_train" in stages else set()  # a tenth of train
    return [
        Problem(f"--{flag} is given without data", remedy=f"add --{STAGES[flag]}_file, --data_dir or --dataset_name")
        for flag in typed
        if STAGES[flag] not in {*files, *made}
    ]


def _idle_patience(arguments: Arguments, stages: list[str]) -> list[Problem]:
    if arguments.get("early_stopping_patience") is None:
        return []
    if "do_train" not in stages:
        return [Problem("--early_stopping_patience needs training", remedy="add --do_train, or drop it")]
    if arguments.training.get("eval_strategy") == "no" or "do_eval" not in stages:
        remedy = "add --do_eval and --eval_strategy steps or epoch"
        return [Problem("--early_stopping_patience needs evaluation during training", remedy=remedy)]
    return []


def _idle_silver(arguments: Arguments, stages: list[str]) -> list[Problem]:
    if arguments.get("silver_file") and "do_train" not in stages:
        return [Problem("--silver_file needs training", remedy="add --do_train, or drop it")]
    if not arguments.get("silver_file") and arguments.get("silver_weight") != 1:
        return [Problem("--silver_weight needs --silver_file", remedy="add it, or drop --silver_weight")]
    return []


def _idle_weights(arguments: Arguments, stages: list[str]) -> list[Problem]:
    weighed = {"class_weights": "labels", "weight_column": "rows", "soft_label_column": "rows"}
    return [
        Problem(f"--{flag} needs training", remedy=f"add --do_train, or drop it: scores do not weigh {what}")
        for flag, what in weighed.items()
        if "do_train" not in stages and arguments.get(flag) is not None
    ]
