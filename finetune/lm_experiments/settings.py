"""Fine-tuning for surprisals, its settings: the arguments of one training, and the functions and classes that they name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from finetune.arguments.groups import Adapting
from finetune.errors import Problem, ProblemList, UsageError
from finetune.lm_experiments.arguments import (
    BASELINE_LOSS,
    CALLBACK,
    LOSS,
    MODIFIER,
    OPTIMIZER,
    PREPROCESSING,
    ExperimentArguments,
    ExperimentModelArguments,
    ExperimentTextArguments,
    as_list,
    per_split,
)
from finetune.lm_experiments.object_names import ObjectKind, find_object
from finetune.lm_experiments.own_functions import is_own, serve_own
from finetune.lm_experiments.preprocessing import Batch, check_keywords
from finetune.lm_experiments.result_arguments import ExperimentResultArguments

OWN_KEYWORDS = ("inputs", "tokenizer", "rng", "model")
STEP_POINT = "pre_train_step"


@dataclass(frozen=True)
class ExperimentSettings:
    """The arguments of one training; another trial is a `dataclasses.replace` of it."""

    model: ExperimentModelArguments
    texts: ExperimentTextArguments
    experiment: ExperimentArguments
    results: ExperimentResultArguments
    seed: int
    adapting: Adapting = field(default_factory=Adapting)

    def find(self, name: str, kind: ObjectKind, flag: str) -> Any:
        """The class or function of that name.

        Raises:
            UsageError: it may not be named, or is not there.
        """
        return find_object(name, kind, flag, self.model.allow_import)[1]

    def find_preprocessing(self, split: str) -> tuple[Callable[..., Batch], dict[str, Any]]:
        """The preprocessing function of a split and its keywords, functions among them found, too.

        Raises:
            UsageError: also for every keyword that it does not take or lacks.
        """
        name = per_split(self.texts.data_preprocessing_fn)[split] or PREPROCESSING.names[0]
        kwargs = dict(per_split(self.texts.data_preprocessing_fn_kwargs)[split] or {})
        return self.bind_preprocessing(name, kwargs, f"data_preprocessing_fn_kwargs.{split}")

    def bind_preprocessing(self, name: str, kwargs: dict[str, Any], flag: str) -> tuple[Callable[..., Batch], dict]:
        function = self.find(name, PREPROCESSING, "--data_preprocessing_fn")
        if isinstance(kwargs.get("mask_fn"), str):
            kwargs["mask_fn"] = self._serve(self.find(kwargs["mask_fn"], PREPROCESSING, f"--{flag}.mask_fn"))
        _require(function, kwargs, flag, OWN_KEYWORDS)
        return self._serve(function), kwargs

    def _serve(self, function: Callable[..., Batch]) -> Callable[..., Batch]:
        return serve_own(function, as_numpy=self.texts.numpy_preprocessing) if is_own(function) else function


def _require(function: Callable[..., Any], kwargs: Mapping[str, Any], flag: str, own: Iterable[str]) -> None:
    problems = check_keywords(function, kwargs, f"--{flag}", tuple(own))
    if problems:
        raise UsageError(*problems)


def bind_loss(
    settings: ExperimentSettings, split: str, name: str, kwargs: dict[str, Any]
) -> tuple[type, dict[str, Any]]:
    """A loss class and its keywords, functions among them found.

    Raises:
        UsageError: unknown or missing keywords.
    """
    loss_class = settings.find(name, LOSS, f"--loss_classes.{split}")
    flag = f"loss_classes_kwargs.{split}.{loss_class.__name__}"
    bound = dict(kwargs)
    if isinstance(bound.get("data_preprocessing_fn"), str):
        bound["data_preprocessing_fn"], bound["data_preprocessing_fn_kwargs"] = settings.bind_preprocessing(
            bound["data_preprocessing_fn"],
            dict(bound.get("data_preprocessing_fn_kwargs") or {}),
            f"{flag}.data_preprocessing_fn_kwargs",
        )
    if loss_class.__name__ == BASELINE_LOSS:
        bound.setdefault("seed", settings.seed)
    _require(loss_class, bound, flag, ("model", "tokenizer"))
    return loss_class, bound


def require_optimizer(settings: ExperimentSettings) -> None:
    """Whether the optimizer can be used and takes its keywords.

    Raises:
        UsageError: it cannot, or does not.
    """
    optimizer_class = settings.find(settings.experiment.train_optimizer, OPTIMIZER, "--train_optimizer")
    closure = inspect.signature(optimizer_class.step).parameters.get("closure")
    if (closure is not None and closure.default is closure.empty) or optimizer_class is torch.optim.SparseAdam:
        reason = "sparse gradients" if closure is None or closure.default is None else "a closure that trains again"
        found = f"--train_optimizer {optimizer_class.__name__} needs {reason}"
        raise UsageError(Problem(found, "others of torch.optim do not", "take AdamW, for example"))
    _require(optimizer_class, settings.experiment.train_optimizer_kwargs, "train_optimizer_kwargs", ("params",))


def require_names(settings: ExperimentSettings, splits: Iterable[str], problems: ProblemList) -> None:
    """Functions, classes and their keywords."""
    for split in (*splits, *(["test"] if settings.texts.test_file else [])):
        problems.attempt(settings.find_preprocessing, split)
    for split in splits:
        for name, kwargs in settings.experiment.losses(split).items():
            problems.attempt(bind_loss, settings, split, name, kwargs)
    if "train" in splits:
        problems.attempt(require_optimizer, settings)
    for name in as_list(settings.model.model_modifier_fns):
        problems.attempt(
            bind_object, settings, name, MODIFIER, "model_modifier_fn", settings.model.model_modifier_fn_kwargs
        )
    for point, name, all_kwargs in named_callbacks(settings.model):
        problems.attempt(bind_object, settings, name, CALLBACK, f"model_callbacks_kwargs.{point}", all_kwargs)


def bind_object(
    settings: ExperimentSettings, name: str, kind: ObjectKind, flag: str, kwargs: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """A modifier or callback class, and its keywords out of those of all."""
    found = settings.find(name, kind, f"--{flag}")
    own = dict(kwargs.get(name.rpartition(".")[2]) or {})
    _require(found, own, f"{flag}.{found.__name__}", ("model", "tokenizer"))
    return found, own


def named_callbacks(model: ExperimentModelArguments) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Point, name and keywords by name of each callback."""
    before_step = [
        (STEP_POINT, name, model.model_pre_train_step_callbacks_kwargs)
        for name in as_list(model.model_pre_train_step_callbacks)
    ]
    return before_step + [
        (point, name, model.model_callbacks_kwargs.get(point) or {})
        for point, names in model.model_callbacks.items()
        for name in as_list(names)
    ]


def resolve_token(model: ExperimentModelArguments) -> ExperimentModelArguments:
    """`--token` may name a file that holds the token, or be False."""
    if model.token in (None, "False", ""):
        return replace(model, token=None)
    path = Path(str(model.token))
    return replace(model, token=path.read_text(encoding="utf-8").strip()) if path.is_file() else model
