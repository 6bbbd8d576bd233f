"""Language models: a configuration from a model, a file, an architecture's name or a family; weights, or none yet."""

from __future__ import annotations

import logging
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import transformers
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from finetune.arguments.nearest import allowed_values
from finetune.errors import Problem, UsageError
from finetune.language_modeling.arguments import LanguageModelArguments
from finetune.models.building import build_model, draw_model
from finetune.models.loading import check_weights, load_config, override_config

logger = logging.getLogger(__name__)

CONFIG_PACKAGE = "finetune_configs"  # the name under which setup.py installs configs/
SPECIAL_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")


def load_language_config(
    arguments: LanguageModelArguments, tokenizer: PreTrainedTokenizerBase | None
) -> PretrainedConfig:
    """The configuration to train under. From scratch, its vocabulary and special ids become the tokenizer's.

    Raises:
        DataError: a model or configuration cannot be opened.
        UsageError: there is no such architecture or family.
    """
    if arguments.model_name_or_path or arguments.config_name:
        config = load_config(arguments)
    elif arguments.architecture:
        config = load_config(replace(arguments, config_name=str(find_architecture(arguments.architecture))))
    else:
        config = config_of_family(str(arguments.model_type))
        override_config(config, arguments.config_overrides)
    if arguments.from_scratch and tokenizer is not None:
        fit_to_tokenizer(config, tokenizer)
    return config


def find_configs() -> Path:
    """The folder of configurations: `configs/` as it was installed, else that of the checkout."""
    package = find_spec(CONFIG_PACKAGE)
    if package is not None and package.submodule_search_locations:
        return Path(next(iter(package.submodule_search_locations)))
    return Path(__file__).resolve().parents[2] / "configs"


def find_architecture(name: str) -> Path:
    """The file of a configuration in `configs/`.

    Raises:
        UsageError: there is none of that name.
    """
    known = {path.stem: path for path in sorted(find_configs().glob("*.json")) if path.is_file()}
    if name in known:
        return known[name]
    allowed = allowed_values(name, known) if known else "this installation has no configs folder"
    remedy = "give the path of a config.json with --config_name"
    raise UsageError(Problem(f"--architecture {name} is unknown", allowed, remedy))


def config_of_family(model_type: str) -> PretrainedConfig:
    """The default configuration of a family of models, such as `roberta`.

    Raises:
        UsageError: transformers has no such family.
    """
    try:
        return AutoConfig.for_model(model_type)
    except ValueError as error:
        known = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
        raise UsageError(Problem(f"--model_type {model_type} is unknown", allowed_values(model_type, known))) from error


def fit_to_tokenizer(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """A model from scratch has as many rows as the tokenizer has tokens, and its special ids.

    A model that reads pictures too (Gemma 3) keeps both within, in the configuration of its text model.
    """
    text = config.get_text_config()
    if text.vocab_size != len(tokenizer):
        logger.info(f"The vocabulary of the new model is the tokenizer's: {len(tokenizer):,} entries.")
    text.vocab_size = len(tokenizer)
    for name in SPECIAL_IDS:
        index = getattr(tokenizer, name)
        for part in (config, text) if index is not None else ():
            if hasattr(part, name):
                setattr(part, name, index)


def check_language_weights(arguments: LanguageModelArguments) -> list[Problem]:
    """A folder of weights to start from must hold some."""
    source = arguments.model_name_or_path or arguments.model_dir
    return check_weights(replace(arguments, model_name_or_path=source)) if source else []


def build_language_model(
    arguments: LanguageModelArguments,
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    task: str,
    seed: int,
) -> PreTrainedModel:
    """The model with its head, in float32: loaded, or drawn anew from `seed`."""
    source = arguments.model_name_or_path or arguments.model_dir
    if source:
        loaded = replace(arguments, model_name_or_path=source)
        return build_model(loaded, config, tokenizer, task=task, seed=seed)
    return draw_model(config, task=task, seed=seed)
