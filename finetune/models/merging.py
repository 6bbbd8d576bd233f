"""An adapter and its base -> a plain model folder with tokenizer and settings."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import transformers
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from finetune.arguments.merging import MergeArguments
from finetune.arguments.model import ModelArguments
from finetune.errors import DataError, Problem, ProblemList
from finetune.models.adapters import CONFIG, AdapterFolder, read_adapter
from finetune.models.loading import HEADS, load_config, load_model
from finetune.models.saving import save_pretrained
from finetune.models.settings import FILE
from finetune.tokenization.loading import load_tokenizer


@dataclass(frozen=True)
class Merge:
    """What is merged, opened and checked, but for the weights."""

    adapter: AdapterFolder
    model: ModelArguments
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase
    task: str


def open_merge(asked: MergeArguments) -> Merge:
    """Open all that a merge needs.

    Raises:
        DataError: with every problem: no adapter, another base, no such head.
    """
    folder = _find_folder(Path(asked.run))
    adapter = read_adapter(str(folder))
    if adapter is None:
        raise DataError(
            Problem(f"the folder holds no adapter ({CONFIG})", remedy="give a run with --peft", path=asked.run)
        )
    problems, model = ProblemList(), ModelArguments(model_name_or_path=str(folder))
    if asked.base_model:
        adapter = replace(adapter, base=asked.base_model, named=adapter.base)
    problems.extend(adapter.problems())
    problems.raise_any()
    config, tokenizer = problems.attempt(load_config, model), problems.attempt(load_tokenizer, model)
    problems.raise_any()
    assert config is not None and tokenizer is not None
    return Merge(adapter, model, config, tokenizer, find_task(config, folder))


def _find_folder(run: Path) -> Path:
    """finetune_lm keeps its model in a folder of its own."""
    return run / "model" if (run / "model" / CONFIG).is_file() else run


def find_task(config: PretrainedConfig, folder: Path) -> str:
    """The head that the adapter was trained under.

    Raises:
        DataError: transformers has no such head.
    """
    name = (config.architectures or [""])[0]
    for task, auto in HEADS.items():
        mapping: Any = getattr(transformers, auto)._model_mapping
        if type(config) in mapping and name == getattr(mapping[type(config)], "__name__", ""):
            return task
    found = f"config.json does not say which head the adapter has (its architectures are {config.architectures})"
    raise DataError(Problem(found, remedy="write the name of the model's class there", path=folder))


def write_merged(merge: Merge, folder: Path) -> dict[str, Any]:
    """Load, merge and write; returns what the last line says."""
    model = load_model(
        merge.model, merge.config, merge.tokenizer, task=merge.task, new_head=False, adapter=merge.adapter
    )
    save_pretrained(model, merge.tokenizer, folder)
    settings = merge.adapter.folder / FILE
    if settings.is_file():
        shutil.copyfile(settings, folder / FILE)
    return {"base": merge.adapter.base, "parameters": model.num_parameters()}
