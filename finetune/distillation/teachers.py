"""Teachers and students as distillation needs them: what of a checkpoint is trained and what is not, weights as files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PretrainedConfig, PreTrainedModel

from finetune.arguments.model import ModelArguments
from finetune.errors import DataError, Problem, ProblemList, UsageError
from finetune.models.adapters import put_adapter, read_adapter
from finetune.models.checks import check_head, check_objective
from finetune.models.families import find_family
from finetune.models.loading import (
    WEIGHT_FILES,
    check_weights,
    explain_unreadable_weights,
    load_config,
    quiet_loading,
    require_matching_shapes,
    without,
)
from finetune.models.whole_weights import require_whole_weights
from finetune.run.failures import is_of_its_files
from finetune.tokenization.loading import resolve_name

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Teacher:
    """A model with its language-model head; `drawn` names the weights that its checkpoint does not have."""

    model: PreTrainedModel
    drawn: frozenset[str]

    @property
    def has_head(self) -> bool:
        """Whether the checkpoint holds the head; what is shared with the embedding need not be in it."""
        prefix = f"{self.model.base_model_prefix}."
        return not any(not name.startswith(prefix) for name in self.drawn)


def load_teacher(name: str, *, family: str) -> Teacher:
    """Load a teacher under the language-model head of its objective, in float32, for evaluation.

    Raises:
        DataError: no such model, another family, or no head of that kind in transformers.
    """
    arguments = ModelArguments(model_name_or_path=name)
    config = load_config(arguments)
    problems = ProblemList(check_weights(arguments))
    problems.extend(check_language_head(config))
    if config.model_type != family:
        found = f"{name} is a {config.model_type} model, not the {family} that was asked for"
        problems.append(Problem(found, remedy=f"say {config.model_type} instead"))
    problems.raise_any()
    require_whole_weights(name)
    adapter = read_adapter(resolve_name(name))
    auto_class: Any = AutoModelForCausalLM if is_causal(config) else AutoModelForMaskedLM
    try:
        with quiet_loading():
            model, report = auto_class.from_pretrained(
                adapter.base if adapter else resolve_name(name),
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (SafetensorError, UnpicklingError, OSError) as error:
        raise DataError(explain_unreadable_weights(name, error)) from error
    if adapter:
        report = without(report, put_adapter(model, adapter))
    require_matching_shapes(model, report, new_head=False, folder=name)
    drawn = frozenset(report["missing_keys"])
    if drawn:
        logger.info("Not in the teacher's checkpoint: %s.", ", ".join(sorted(drawn)))
    return Teacher(model.eval(), drawn)


def is_causal(config: PretrainedConfig) -> bool:
    """Whether a model predicts what follows; of a family without a row, whether that is all it can predict."""
    tables = (AutoModelForCausalLM._model_mapping, AutoModelForMaskedLM._model_mapping)
    can_follow, can_fill = (type(config) in table for table in tables)
    return find_family(config).causal or (can_follow and not can_fill)


def check_language_head(config: PretrainedConfig) -> list[Problem]:
    """Teachers and students need a head that predicts tokens, and compute what it is for."""
    causal = is_causal(config)
    return check_head(config, "causal_lm" if causal else "masked_lm") or check_objective(config, causal=causal)


def save_weights(weights: Mapping[str, Tensor], path: Path) -> Path:
    """Write weights to a .safetensors file, or as numbers that `torch.load(weights_only=True)` reads (.pth, .bin).

    Raises:
        UsageError: another ending.
    """
    own = {name: weight.detach().cpu().contiguous().clone() for name, weight in weights.items()}
    if path.suffix not in (".safetensors", ".pth", ".bin"):
        raise UsageError(Problem(f"{path} ends in {path.suffix or 'nothing'}", "allowed: .safetensors, .pth, .bin"))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(own, path, metadata={"format": "pt"})
    else:
        torch.save(own, path)
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Weights of a file, or of a model folder.

    Raises:
        DataError: no such file, a damaged one, or a pickle that holds more than numbers.
    """
    if path.is_dir():
        path = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), path / WEIGHT_FILES[0])
    if not path.is_file():
        raise DataError(Problem("there are no weights", remedy="make them with extract_distilbert.py", path=path))
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except Exception as error:
        if not (is_of_its_files(error) or isinstance(error, UnpicklingError)):
            raise
        raise DataError(replace(explain_unreadable_weights(str(path), error), path=path)) from error
    if not isinstance(weights, dict) or not all(isinstance(item, Tensor) for item in weights.values()):
        raise DataError(Problem("the file holds something else than named weights", path=path))
    return weights


def start_student(student: PreTrainedModel, weights: Mapping[str, Tensor], path: Path) -> None:
    """Give the student its first weights; what is missing or left over is said.

    Raises:
        DataError: weights of other shapes, or none that the student has.
    """
    own: dict[str, Tensor] = student.state_dict()
    common = {name: weight for name, weight in weights.items() if name in own}
    wrong = [name for name, weight in common.items() if weight.shape != own[name].shape]
    problems = [
        Problem(f"the weight {name} has the shape {tuple(common[name].shape)}, the student's {tuple(own[name].shape)}")
        for name in wrong[:3]
    ]
    if not common:
        problems.append(Problem(f"none of the {len(weights):,} weights is one of a {type(student).__name__}"))
    if problems:
        raise DataError(*(replace(item, path=path, remedy="mend --student_config") for item in problems))
    student.load_state_dict(common, strict=False)
    student.tie_weights()
    missing, unused = sorted(set(own) - set(common)), sorted(set(weights) - set(common))
    logger.info("The student begins with %d weights of %s.", len(common), path)
    if missing:
        logger.info("Drawn anew, not in that file: %s.", ", ".join(missing))
    if unused:
        logger.warning("In that file, but not part of the student: %s.", ", ".join(unused))


def freeze_parts(student: PreTrainedModel, *, positions: bool, token_types: bool) -> None:
    """Keep position or token type embeddings as they are; sinusoidal positions are never trained."""
    if positions or getattr(student.config, "sinusoidal_pos_embds", False):
        freeze(find_part(student, "position_embeddings", "wpe"), "position embeddings")
    if token_types:
        freeze(find_part(student, "token_type_embeddings"), "token type embeddings")


def freeze(module: nn.Module | None, what: str) -> None:
    """Keep the weights of a part of the student as they are; said if it has no such part."""
    if module is None:
        logger.warning("The student has no %s to freeze.", what)
        return
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    logger.info("The student's %s stay as they are.", what)


def find_part(model: nn.Module, *names: str) -> nn.Module | None:
    """The first submodule whose last name is one of `names`."""
    return next((module for name, module in model.named_modules() if name.rpartition(".")[2] in names), None)
