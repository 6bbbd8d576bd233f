"""Fine-tuning for surprisals, what it is made of: every argument checked, then model, texts, losses and callbacks built."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from finetune.errors import Problem, ProblemList, UsageError
from finetune.lm_experiments.arguments import (
    BASELINE_LOSS,
    CALLBACK,
    MODIFIER,
    OPTIMIZER,
    REDUCTION,
    SPLITS,
    as_list,
    per_split,
)
from finetune.lm_experiments.batches import Recipe, TextBatches
from finetune.lm_experiments.hooks import Hooks
from finetune.lm_experiments.losses import SplitLoss
from finetune.lm_experiments.settings import (
    ExperimentSettings,
    bind_loss,
    bind_object,
    named_callbacks,
    require_names,
)
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
    require_names(settings, splits, problems)
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
        modify, kwargs = bind_object(
            settings, name, MODIFIER, "model_modifier_fns", settings.model.model_modifier_fn_kwargs
        )
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
    for point, name, all_kwargs in named_callbacks(settings.model):
        callback_class, kwargs = bind_object(settings, name, CALLBACK, f"model_callbacks.{point}", all_kwargs)
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
