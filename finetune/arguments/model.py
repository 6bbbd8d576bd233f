"""Which model and which tokenizer, and how to fetch them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from finetune.arguments.fields import argument
from finetune.arguments.legacy import OldFlag, gone
from finetune.errors import Problem

ONE_TOKENIZER = "transformers 5 has one implementation of each tokenizer"


@dataclass
class ModelArguments:
    """Model and tokenizer."""

    LOGGED_AS: ClassVar[str] = "Model parameters"
    OLD_FLAGS: ClassVar[dict[str, OldFlag]] = {
        "use_fast": gone(ONE_TOKENIZER, "bool"),
        "use_fast_tokenizer": gone(ONE_TOKENIZER, "bool"),
        "use_auth_token": gone("the token stored by `hf auth login` is used; --token gives another", "bool"),
        "torch_dtype": gone("weights are loaded as float32 for training; choose --fp16 or --bf16"),
        "low_cpu_mem_usage": gone("weights are always loaded one by one", "bool"),
    }

    model_name_or_path: str = argument(metavar="NAME_OR_FOLDER", help="the pretrained model: a folder or a hub name")
    config_name: str | None = argument(
        None, metavar="NAME_OR_FOLDER", help="configuration, where it is not the model's own"
    )
    config_overrides: str | None = argument(
        None, metavar="NAME=VALUE,...", help="fields of the configuration to change, e.g. hidden_dropout_prob=0.2"
    )
    tokenizer_name_or_path: str | None = argument(
        None, metavar="NAME_OR_FOLDER", aliases=("tokenizer_name",), help="tokenizer, where it is not the model's own"
    )
    tokenizer_type: str = argument(
        "AutoTokenizer",
        metavar="TYPE",
        help="AutoTokenizer, ThaiRobertaTokenizer, ThaiWordsNewmmTokenizer, ThaiWordsSyllableTokenizer, "
        "FakeSefrCutTokenizer, CamembertTokenizer, or skip (AutoTokenizer without the space token)",
    )
    cache_dir: str | None = argument(None, metavar="FOLDER", help="where downloads are kept")
    model_revision: str = argument("main", metavar="REVISION", help="branch, tag or commit of a hub model")
    token: str | None = argument(
        None, metavar="TOKEN", secret=True, help="hub token; without it, what `hf auth login` stored"
    )
    trust_remote_code: bool = argument(False, help="run code that a hub model brings along")
    ignore_mismatched_sizes: bool = argument(
        False, help="make weights anew whose shape does not fit the configuration, such as a head for other labels"
    )

    def problems(self) -> list[Problem]:
        return [
            Problem(f"--config_overrides holds {part!r}", "each part must read name=value", "separate parts by commas")
            for part in (self.config_overrides or "").split(",")
            if self.config_overrides and not _is_override(part)
        ]


def _is_override(part: str) -> bool:
    name, equals, value = part.partition("=")
    return bool(equals and value) and name.strip().isidentifier()
