"""Name or folder -> configuration and model with the right head, in float32, with every mismatch told before training.

A configuration is opened first and checked (`models/checks.py`) together with everything else a user gave; weights are
only read once nothing is wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import transformers
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from finetune.arguments.model import ModelArguments
from finetune.errors import DataError, Problem, UsageError
from finetune.models import adapters
from finetune.models.adapting import Adaptation, adapt_model, is_of_head
from finetune.models.padding import PADDED_TASKS, resolve_padding
from finetune.models.whole_weights import require_whole_weights
from finetune.run.failures import first_line, is_of_its_files
from finetune.tokenization.loading import resolve_name

logger = logging.getLogger(__name__)

WEIGHT_FILES = (
    adapters.WEIGHTS,
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

HEADS = {
    "token_classification": "AutoModelForTokenClassification",
    "sequence_classification": "AutoModelForSequenceClassification",
    "masked_lm": "AutoModelForMaskedLM",
    "causal_lm": "AutoModelForCausalLM",
    "seq2seq_lm": "AutoModelForSeq2SeqLM",
    "pretraining": "AutoModelForPreTraining",
}
LANGUAGE_HEADS = ("masked_lm", "causal_lm", "seq2seq_lm")  # trained with the model, not anew for each task


def hub_arguments(arguments: ModelArguments) -> dict[str, Any]:
    """The keywords that every `from_pretrained` of this run shares."""
    return {
        "cache_dir": arguments.cache_dir,
        "revision": arguments.model_revision,
        "token": arguments.token,
        "trust_remote_code": arguments.trust_remote_code,
    }


def load_config(arguments: ModelArguments, **changes: Any) -> PretrainedConfig:
    """Open the configuration and apply `--config_overrides`, then `changes`.

    Raises:
        DataError: no configuration can be reached under that name.
        UsageError: `--config_overrides` names a field that the configuration lacks.
    """
    name = resolve_name(arguments.config_name or arguments.model_name_or_path)
    if (found := adapters.read_adapter(name)) and not (found.folder / "config.json").is_file():
        name = found.base  # as peft writes adapters
    try:
        config = AutoConfig.from_pretrained(name, **hub_arguments(arguments))
    except Exception as error:
        if not is_of_its_files(error):
            raise
        raise DataError(explain_missing_model(name, "config.json", error)) from error
    if not all(isinstance(item, str) for item in config.architectures or ()):
        raise DataError(Problem("config.json cannot be used: its architectures are no names", path=name))
    override_config(config, arguments.config_overrides)
    for field, value in changes.items():
        setattr(config, field, value)
    return config


def override_config(config: PretrainedConfig, overrides: str | None) -> None:
    """Apply `name=value,...`; the values take the type of the field that they replace."""
    if not overrides:
        return
    try:
        config.update_from_string(overrides)
    except ValueError as error:
        raise UsageError(
            Problem(f"--config_overrides {overrides}: {error}", "allowed: name=value,name=value")
        ) from error


def explain_missing_model(name: str, file: str, error: Exception) -> Problem:
    """One sentence for a model that cannot be opened: a folder without the file, or a hub name out of reach."""
    folder = Path(name)
    if folder.is_dir() and not (folder / file).is_file():
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        return Problem(f"the model folder has no {file} (it holds {found})", remedy=f"place {file} there", path=name)
    if folder.is_dir():
        reason = first_line(error)
        return Problem(f"{file} cannot be used: {reason}", path=folder / file)
    return Problem(
        f"there is no model folder {name!r} and no model of that name can be fetched from the hub",
        remedy="give the path of a folder that holds config.json and model.safetensors, or connect to the hub once to "
        "cache the model",
    )


def check_weights(arguments: ModelArguments) -> list[Problem]:
    """A model folder without weights is told before anything is read."""
    folder = Path(arguments.model_name_or_path)
    if found := adapters.read_adapter(arguments.model_name_or_path):
        return found.problems()
    if not folder.is_dir() or any((folder / name).is_file() for name in WEIGHT_FILES):
        return []
    remedy = "give the folder of a trained model; its newest checkpoint-* folder is one"
    return [
        Problem(f"the model folder holds no weights ({' or '.join(WEIGHT_FILES[1::2])})", remedy=remedy, path=folder)
    ]


def load_model(
    arguments: ModelArguments,
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    task: str,
    new_head: bool,
    complete: bool = False,
    more: Mapping[str, Any] | None = None,
    adapter: adapters.AdapterFolder | None = None,
) -> PreTrainedModel:
    """Load the weights under the head of `task`, always as float32: optimizers need full-precision parameters.

    Args:
        arguments: where the weights are.
        config: the checked configuration, its labels already set.
        tokenizer: gives the size that the embedding must have.
        task: a key of `HEADS`.
        new_head: the head of the checkpoint, if it has one, belongs to other labels and is made anew.
        complete: nothing is trained, so every weight must be in the checkpoint.
        more: further keywords for `from_pretrained`.
        adapter: the adapter in the folder of the weights, where its base lies elsewhere than it says.

    Raises:
        DataError: the weights are damaged, are not those that were saved, lack what `complete` asks for, hold more than
            numbers, or have other shapes than the configuration says.
    """
    if task in PADDED_TASKS:
        resolve_padding(config, tokenizer)
    auto_class = getattr(transformers, HEADS[task])
    require_whole_weights(arguments.model_name_or_path)
    source = resolve_name(arguments.model_name_or_path)
    adapter = adapter or adapters.read_adapter(source)
    try:
        with quiet_loading():
            model, report = auto_class.from_pretrained(
                adapter.base if adapter else source,
                config=config,
                **{"dtype": torch.float32, **hub_arguments(arguments), **(more or {})},
                ignore_mismatched_sizes=True,  # checked below, with the names and both shapes
                output_loading_info=True,
            )
    except Exception as error:
        if not (is_of_its_files(error) or isinstance(error, UnpicklingError)):
            raise
        raise DataError(explain_unreadable_weights(arguments.model_name_or_path, error)) from error
    if adapter:
        report = without(report, adapters.put_adapter(model, adapter))
    if not arguments.ignore_mismatched_sizes:
        require_matching_shapes(model, report, new_head=new_head, folder=arguments.model_name_or_path)
    if complete:
        require_all_weights(report, folder=arguments.model_name_or_path)
    elif task in LANGUAGE_HEADS:
        warn_of_untrained_head(model, report)
    adaptation = Adaptation(tokenizer, report, new_head=new_head)
    adapt_model(model, adaptation)
    tell_loading(report, adaptation.fresh)
    drawn = (*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"]), *adaptation.fresh)
    adapters.remember_loading(model, adapters.Loaded(source, drawn, adaptation.grown, merged=adapter is not None))
    return model


def without(report: Mapping[str, Any], found: Collection[str]) -> dict[str, Any]:
    """What loading said, but for weights that came with an adapter."""
    missing = {name for name in report["missing_keys"] if name not in found}
    mismatched = [entry for entry in report["mismatched_keys"] if entry[0] not in found]
    return {**report, "missing_keys": missing, "mismatched_keys": mismatched}


def explain_unreadable_weights(name: str, error: Exception) -> Problem:
    """Damaged files, and pickles with objects in them, which are never run."""
    path = Path(name) if Path(name).is_dir() else None
    if isinstance(error, UnpicklingError):
        found = "the weights file holds objects beside numbers; it is not loaded, because that could run code"
        return Problem(found, remedy="give the model as model.safetensors", path=path)
    reason = first_line(error).rstrip(".")
    return Problem(f"the weights cannot be read ({reason})", remedy="copy or download the model again", path=path)


def require_matching_shapes(model: PreTrainedModel, report: dict[str, Any], *, new_head: bool, folder: str) -> None:
    """Weights of another shape are refused, but for those of a head that is made anew.

    Raises:
        DataError: with the name and both shapes of the first few.
    """
    wrong = sorted(entry for entry in report["mismatched_keys"] if not (new_head and is_of_head(model, entry[0])))
    if wrong:
        allowed = f"{len(wrong):,} weights differ so" if len(wrong) > 1 else ""
        remedy = "mend config.json or --config_overrides; --ignore_mismatched_sizes makes such weights anew"
        name, saved, expected = wrong[0]
        found = f"the weight {name} has the shape {tuple(saved)}, but the configuration asks for {tuple(expected)}"
        raise DataError(Problem(found, allowed, remedy, folder))


def require_all_weights(report: Mapping[str, Any], *, folder: str) -> None:
    """A head that is not in the checkpoint would be drawn at random, and with it every number.

    Raises:
        DataError: with the names of the first few.
    """
    missing = sorted(report["missing_keys"])
    if missing:
        found = f"the model has no trained head for this task: its checkpoint lacks {', '.join(missing[:3])}"
        more = f"{len(missing):,} weights are missing" if len(missing) > 3 else ""
        raise DataError(Problem(found, more, "give a model that was trained with this head", folder))


def warn_of_untrained_head(model: PreTrainedModel, report: Mapping[str, Any]) -> None:
    """A checkpoint of another kind of model (a discriminator, a sentence encoder) has no head that predicts tokens."""
    missing = sorted(name for name in report["missing_keys"] if is_of_head(model, name))
    if missing:
        logger.warning(
            "The checkpoint has no trained head for this task (it lacks %s): it is drawn at random, and what it predicts "
            "before it is trained means nothing.",
            ", ".join(missing[:3]),
        )


def tell_loading(report: dict[str, Any], fresh: Iterable[str] = ()) -> None:
    """Say which weights are new (`fresh` ones too) and which of the checkpoint were left aside, one line each."""
    fresh = sorted({*fresh, *report["missing_keys"], *(entry[0] for entry in report.get("mismatched_keys", ()))})
    if fresh:
        logger.info("Newly initialised: %s.", ", ".join(fresh))
    unused = sorted(report["unexpected_keys"])
    if unused:
        logger.info("In the checkpoint but not used by this head: %s.", ", ".join(unused))


class quiet_loading:
    """Silence transformers' load report and progress bar; `tell_loading` says the same in two lines."""

    def __enter__(self) -> None:
        self.level = transformers.logging.get_verbosity()
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        transformers.logging.set_verbosity(self.level)
