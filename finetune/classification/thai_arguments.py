"""What a user can say to the sequence classification command of thai2transformers, by place and by flag."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from finetune.arguments.fields import argument
from finetune.arguments.legacy import Given, OldFlag, Translation, renamed
from finetune.arguments.model import ModelArguments
from finetune.arguments.nearest import allowed_values
from finetune.arguments.parser import Arguments
from finetune.errors import Problem

PUBLIC_MODELS = ("mbert", "xlmr", "xlmr-large")
TOKENIZER_TYPES = ("spm_camembert", "spm", "newmm", "syllable", "sefr_cut")


def _translate_batch_size(word: str, _given: Given) -> Translation:
    names = ("per_device_train_batch_size", "per_device_eval_batch_size")
    line = " and ".join(f"--{name} {word}" for name in names)
    return Translation(f"is {line}", dict.fromkeys(names, (word,)))


@dataclass
class ThaiTextArguments:
    """Thai sequence classification, as thai2transformers calls it."""

    OLD_FLAGS: ClassVar[dict[str, OldFlag]] = {
        "model_dir": renamed("model_name_or_path"),
        "tokenizer_dir": renamed("tokenizer_name_or_path"),
        "batch_size": OldFlag("value", _translate_batch_size),
        "wandb_run_name": renamed("run_name"),
    }

    tokenizer_type_or_public_model_name: str | None = argument(
        None,
        metavar="TYPE_OR_MODEL",
        help=f"{', '.join(PUBLIC_MODELS)}, a folder or hub name; or, with --model_dir and --tokenizer_dir, the "
        f"tokenizer's type: {', '.join(TOKENIZER_TYPES)}",
    )
    log_dir: str | None = argument(None, metavar="FOLDER", help="where TensorBoard's files go")
    prepare_for_tokenization: bool = argument(
        False, help="replace spaces also where --space_token is a space: by <_>, as some pretrained models need"
    )
    space_token: str = argument(" ", metavar="TEXT", help="what replaces spaces in texts, e.g. <_>; a space keeps them")
    lowercase: bool = argument(False, help="lower-case texts")
    cleaning: bool = argument(
        True, help="apply the cleaning rules of thai2transformers (--no_cleaning leaves texts alone)"
    )

    def problems(self) -> list[Problem]:
        name = self.tokenizer_type_or_public_model_name
        known = (*PUBLIC_MODELS, *TOKENIZER_TYPES)
        if name is None or name in known or "/" in name or Path(name).exists():
            return []
        return [Problem(f"there is no tokenizer type or public model {name!r}", allowed_values(name, known))]

    @property
    def tokenizer_type(self) -> str | None:
        name = self.tokenizer_type_or_public_model_name
        return name if name in TOKENIZER_TYPES else None

    @property
    def model_name(self) -> str | None:
        """The model, where the first word names one."""
        return None if self.tokenizer_type else self.tokenizer_type_or_public_model_name

    @property
    def replacement(self) -> str:
        """What stands for a space in texts."""
        return "<_>" if self.prepare_for_tokenization and self.space_token == " " else self.space_token


def resolve_thai_texts(arguments: Arguments) -> None:
    """What the first and the last word of the command line stand for: the model, TensorBoard's folder."""
    thai, model = arguments[ThaiTextArguments], arguments[ModelArguments]
    model.model_name_or_path = model.model_name_or_path or thai.model_name or ""
    model.tokenizer_type = thai.tokenizer_type or model.tokenizer_type
    if thai.log_dir:
        arguments.environment["TENSORBOARD_LOGGING_DIR"] = thai.log_dir
        arguments.training.setdefault("report_to", ["tensorboard"])


def check_thai_texts(arguments: Arguments) -> list[Problem]:
    """The problem of a command line that names no model."""
    thai, model = arguments[ThaiTextArguments], arguments[ModelArguments]
    if model.model_name_or_path or thai.problems():
        return []
    first = thai.tokenizer_type or "the command"
    return [Problem(f"{first} needs a model", "mbert, xlmr and xlmr-large are known by name", "add --model_dir FOLDER")]
