"""Arguments of the commands that train BERT on its own two tasks: on pregenerated data, or on text directly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.fields import argument
from finetune.arguments.legacy import OldFlag, gone
from finetune.arguments.parser import Arguments
from finetune.arguments.training_table import TrainingValues
from finetune.errors import Problem

TRAINING_DEFAULTS: TrainingValues = {
    "learning_rate": 3e-5,
    "weight_decay": 0.01,
    "logging_steps": 50,
    "save_strategy": "steps",
    "save_steps": 1000,
}
DYNAMIC_SCALE = "PyTorch scales float16 losses dynamically"


@dataclass
class PretrainingArguments:
    """Model and training."""

    OLD_FLAGS: ClassVar[dict[str, OldFlag]] = {"loss_scale": gone(DYNAMIC_SCALE)}

    bert_model: str = argument(
        metavar="NAME_OR_FOLDER", help="model to go on with: a folder, or a hub name such as bert-base-uncased"
    )
    do_lower_case: bool = argument(False, help="lower-case the text; models of lower-cased text do so by themselves")
    train_batch_size: int = argument(32, minimum=1, help="instances of an optimizer step, on each device")
    reduce_memory: bool = argument(False, help="keep data on disk that would otherwise be held in memory")
    writeout_steps: int = argument(20000, minimum=1, help="save a model to ep{epoch}_{instances}/ every so many steps")


@dataclass
class PregeneratedDataArguments:
    """Data."""

    pregenerated_data: str = argument(metavar="FOLDER", help="the --output_dir of pregenerate_training_data.py")
    epochs: int = argument(3, minimum=1, help="epochs of training; fewer epochs of data are gone through again")


@dataclass
class SimpleTextArguments:
    """Text and instances."""

    OLD_FLAGS: ClassVar[dict[str, OldFlag]] = {"on_memory": gone("the text is never held in memory", "bool")}

    train_corpus: list[str] = argument(
        metavar="PATH",
        help="text, one sentence a line, an empty line between documents: files (.gz too), folders or patterns in quotes",
    )
    ext: str = argument("txt", help="ending of the files to take from folders, with or without its dot")
    max_seq_length: int = argument(128, minimum=5, help="subwords of an instance at most, special tokens included")
    num_workers: int = argument(1, minimum=1, metavar="N", help="processes that prepare the text")


def resolve_batches(arguments: Arguments) -> None:
    """`--train_batch_size` counts what one optimizer step sees; accumulation divides it, as published."""
    total, parts = _step(arguments)
    arguments.training["do_train"] = True
    arguments.training["per_device_train_batch_size"] = max(total // parts, 1)


def _step(arguments: Arguments) -> tuple[int, int]:
    """Instances of an optimizer step, and the batches that it is divided into."""
    parts = arguments.training.get("gradient_accumulation_steps", 1)
    return arguments[PretrainingArguments].train_batch_size, max(parts, 1)


def check_batches(arguments: Arguments) -> list[Problem]:
    """A step is divided into batches of whole instances, and of so many."""
    fast_path, (total, parts) = arguments[FastPathArguments], _step(arguments)
    problems = []
    if fast_path.max_tokens_per_batch or fast_path.length_window:
        found = "--max_tokens_per_batch and --length_window are not offered here"
        problems.append(Problem(found, "instances are nearly all of the same length", "drop them"))
    if total % parts:
        found = f"--train_batch_size {total} cannot be divided by --gradient_accumulation_steps {parts}"
        problems.append(Problem(found, "it counts the instances of a whole optimizer step"))
    return problems


def resolve_epochs(arguments: Arguments) -> None:
    """`--epochs` is what the Trainer calls `num_train_epochs`."""
    arguments.training["num_train_epochs"] = float(arguments[PregeneratedDataArguments].epochs)
