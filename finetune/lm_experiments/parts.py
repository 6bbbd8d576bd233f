"""Fine-tuning for surprisals, what it is made of: every argument checked, then model, texts, losses and callbacks built."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from finetune.arguments.groups import Adapting
from finetune.errors import Problem, ProblemList, UsageError
from finetune.lm_experiments.arguments import (
    BASELINE_LOSS,
    CALLBACK,
    LOSS,
    MODIFIER,
    OPTIMIZER,
    PREPROCESSING,
    REDUCTION,
    SPLITS,
    ExperimentArguments,
    ExperimentModelArguments,
    ExperimentTextArguments,
    as_list,
    per_split,
)
from finetune.lm_experiments.batches import Recipe, TextBatches
from finetune.lm_experiments.hooks import Hooks
from finetune.lm_experiments.losses import SplitLoss
from finetune.lm_experiments.object_names import ObjectKind, find_object
from finetune.lm_experiments.own_functions import is_own, serve_own
from finetune.lm_experiments.preprocessing import Batch, check_keywords
from finetune.lm_experiments.result_arguments import ExperimentResultArguments
from finetune.lm_experiments.texts import AnnotatedTexts, read_annotated_texts
from finetune.models.adapting import Trained
from finetune.models.building import build_model
from finetune.models.checks import find_position_limit
from finetune.models.loading import check_weights, load_config
from finetune.surprisal.heads import HEADS, check_language_model, find_task
from finetune.tokenization.languages import set_languages
from finetune.tokenization.loading import load_tokenizer
from finetune.training.parameter_groups import build_groups

logger = logging.getLogger(__name__)

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


@dataclass
class ExperimentParts:
    """A model ready to be trained or tested, with what goes with it."""

    settings: ExperimentSettings
    task: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    texts: dict[str, AnnotatedTexts]
    hooks: Hooks

    @property
    def longest(self) -> int:
        """Ids of a text at most: --max_length, or fewer where the model takes no more."""
        asked, limit = self.settings.texts.max_length, find_position_limit(self.model.config)
        return min(asked, limit) if limit else asked

    def recipe(self, split: str) -> Recipe:
        """How texts of a split become batches."""
        texts = self.settings.texts
        function, kwargs = self.settings.find_preprocessing(split)
        return Recipe(
            self.tokenizer,
            self.task,
            max_length=self.longest,
            function=function,
            kwargs=kwargs,
            per_batch=per_split(texts.data_preprocessing_fn_strategy)[split] == "per_batch",
            seed=self.settings.seed,
            split=SPLITS.index(split),
            pad_to=self.longest if texts.pad_to_max_length else None,
            windows=texts.long_text == "window",
            model=self.model,
        )

    def encode(self, split: str) -> TextBatches:
        """The rows of a split.

        Raises:
            DataError, UsageError: texts, labels and function do not go together.
        """
        return TextBatches(self.texts[split], self.recipe(split))

    def build_loss(self, split: str) -> SplitLoss:
        """The losses of a split.

        Raises:
            DataError, UsageError: classes, keywords or the data sets of a loss are wrong.
        """
        losses = {}
        for name, kwargs in self.settings.experiment.losses(split).items():
            loss_class, bound = bind_loss(self.settings, split, name, kwargs)
            if loss_class.__name__ == BASELINE_LOSS:
                bound["max_sample_length"] = min(bound.get("max_sample_length") or self.longest, self.longest)
            losses[name.rpartition(".")[2]] = loss_class(self.model, self.tokenizer, **bound)
        reduction = per_split(self.settings.experiment.loss_reduction_fns)[split] or REDUCTION.names[0]
        return SplitLoss(losses, self.settings.find(reduction, REDUCTION, f"--loss_reduction_fns.{split}"))

    def build_optimizer(self, trained: Trained | None = None) -> torch.optim.Optimizer:
        """The optimizer over all parameters of the model, in groups where parts of it have rates of their own.

        Raises:
            UsageError: it cannot be built with these keywords, or not be used without a closure or sparse gradients.
        """
        experiment = self.settings.experiment
        optimizer_class = self.settings.find(experiment.train_optimizer, OPTIMIZER, "--train_optimizer")
        try:
            return optimizer_class(
                params=self._parameters(optimizer_class, trained), **experiment.train_optimizer_kwargs
            )
        except (TypeError, ValueError, RuntimeError) as error:
            kwargs = experiment.train_optimizer_kwargs
            found = f"{optimizer_class.__name__} cannot be built with {kwargs}: {error}"
            raise UsageError(Problem(found, remedy="mend --train_optimizer_kwargs or --train_optimizer")) from error

    def _parameters(self, optimizer_class: type, trained: Trained | None) -> Any:
        if trained is None or not trained.asked.rates.moves_rates:
            return self.model.parameters()
        defaults = inspect.signature(optimizer_class).parameters
        given = {
            name: self.settings.experiment.train_optimizer_kwargs.get(name, getattr(defaults.get(name), "default", 0.0))
            for name in ("lr", "weight_decay")
        }
        everything = [name for name, _ in self.model.named_parameters()]  # as without groups, all of it decays
        return build_groups(
            self.model, trained, rate=float(given["lr"]), decay=float(given["weight_decay"]), decaying=everything
        )


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


def open_parts(settings: ExperimentSettings, splits: Iterable[str]) -> ExperimentParts:
    """Check everything that can be checked without weights, then load the model and change it as asked.

    Args:
        settings: all arguments.
        splits: those of `train`, `validation` whose texts are needed. Texts of tests are read when they are scored.

    Raises:
        DataError, UsageError: with every problem of files, configuration, names and keywords.
    """
    problems, model, splits = ProblemList(), settings.model, list(splits)
    config = problems.attempt(load_config, model, **model.config_kwargs)
    tokenizer = problems.attempt(load_tokenizer, model, more=model.tokenizer_kwargs)
    problems.add(check_weights(model))
    task = problems.attempt(find_task, config, model.model_task, model.model_name_or_path) if config else None
    if config is not None and task is not None:
        problems.extend(check_language_model(config, task, tokenizer))
        problems.extend(_check_long_text(settings, task))
    if tokenizer is not None and task == "seq2seq":
        problems.extend(set_languages(tokenizer, model.source_lang, model.target_lang))
    texts = {split: problems.attempt(_read, settings, split) for split in splits}
    _require_names(settings, splits, problems)
    problems.raise_any()
    assert config is not None and tokenizer is not None and task is not None
    return _build(settings, config, tokenizer, task, {name: item for name, item in texts.items() if item is not None})


def _check_long_text(settings: ExperimentSettings, task: str) -> list[Problem]:
    if task != "seq2seq" or settings.texts.long_text != "window":
        return []
    return [Problem("--long_text window is for causal and masked models", "an encoder-decoder reads a text whole or cut",
                    "drop it")]  # fmt: skip


def _read(settings: ExperimentSettings, split: str) -> AnnotatedTexts:
    path = getattr(settings.texts, f"{split}_file")
    return read_annotated_texts(Path(path), max_samples=getattr(settings.texts, f"max_{split}_samples"))


def _require_names(settings: ExperimentSettings, splits: Iterable[str], problems: ProblemList) -> None:
    """Functions, classes and their keywords."""
    for split in (*splits, *(["test"] if settings.texts.test_file else [])):
        problems.attempt(settings.find_preprocessing, split)
    for split in splits:
        for name, kwargs in settings.experiment.losses(split).items():
            problems.attempt(bind_loss, settings, split, name, kwargs)
    if "train" in splits:
        problems.attempt(require_optimizer, settings)
    for name in as_list(settings.model.model_modifier_fns):
        problems.attempt(_bind, settings, name, MODIFIER, "model_modifier_fn", settings.model.model_modifier_fn_kwargs)
    for point, name, all_kwargs in _named_callbacks(settings.model):
        problems.attempt(_bind, settings, name, CALLBACK, f"model_callbacks_kwargs.{point}", all_kwargs)


def _bind(
    settings: ExperimentSettings, name: str, kind: ObjectKind, flag: str, kwargs: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """A modifier or callback class, and its keywords out of those of all."""
    found = settings.find(name, kind, f"--{flag}")
    own = dict(kwargs.get(name.rpartition(".")[2]) or {})
    _require(found, own, f"{flag}.{found.__name__}", ("model", "tokenizer"))
    return found, own


def _named_callbacks(model: ExperimentModelArguments) -> list[tuple[str, str, Mapping[str, Any]]]:
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


def _build(
    settings: ExperimentSettings,
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    task: str,
    texts: dict[str, AnnotatedTexts],
) -> ExperimentParts:
    model = build_model(
        settings.model,
        config,
        tokenizer,
        task=HEADS[task],
        seed=settings.seed,
        complete=not settings.texts.train_file
        and settings.model.model_task is None,  # numbers of a drawn head say nothing
        more=settings.model.model_kwargs,
    )
    for name in as_list(settings.model.model_modifier_fns):
        modify, kwargs = _bind(settings, name, MODIFIER, "model_modifier_fns", settings.model.model_modifier_fn_kwargs)
        model, tokenizer = _order_pair(modify(model, tokenizer, **kwargs), model, tokenizer)
    model.to(find_device(settings.model.use_gpu))  # type: ignore[arg-type]
    parts = ExperimentParts(settings, task, model, tokenizer, texts, Hooks())
    parts.hooks = build_hooks(settings, model, tokenizer)
    return parts


def _order_pair(made: Any, model: Any, tokenizer: PreTrainedTokenizerBase) -> tuple[Any, Any]:
    """What a modifier gives back: model and tokenizer in either order, the model alone, or nothing."""
    given = made if isinstance(made, tuple) else (made,)
    models = [item for item in given if isinstance(item, torch.nn.Module)]
    others = [item for item in given if item is not None and not isinstance(item, torch.nn.Module)]
    return (models or [model])[0], (others or [tokenizer])[0]


def build_hooks(settings: ExperimentSettings, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Hooks:
    """The callbacks of each point, built in the order they are named.

    Raises:
        UsageError: with the problems of all of them.
    """
    problems, callbacks = ProblemList(), {}  # type: ignore[var-annotated]
    for point, name, all_kwargs in _named_callbacks(settings.model):
        callback_class, kwargs = _bind(settings, name, CALLBACK, f"model_callbacks.{point}", all_kwargs)
        built = problems.attempt(callback_class, model, tokenizer, **kwargs)
        callbacks.setdefault(point, []).append(built)
    problems.raise_any(UsageError)
    return Hooks(callbacks)


def find_device(use_gpu: bool | None) -> torch.device:
    """The device for `--use_gpu`: without it a GPU that is visible.

    Raises:
        UsageError: a GPU is asked for, and none is visible.
    """
    if use_gpu and not torch.cuda.is_available():
        raise UsageError(Problem("--use_gpu, but no GPU is visible", remedy="drop it, or check CUDA_VISIBLE_DEVICES"))
    return torch.device("cuda" if torch.cuda.is_available() and use_gpu is not False else "cpu")


def resolve_token(model: ExperimentModelArguments) -> ExperimentModelArguments:
    """`--token` may name a file that holds the token, or be False."""
    if model.token in (None, "False", ""):
        return replace(model, token=None)
    path = Path(str(model.token))
    return replace(model, token=path.read_text(encoding="utf-8").strip()) if path.is_file() else model
