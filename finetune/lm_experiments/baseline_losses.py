"""Losses by the model's outputs: its own, and the divergence from what it was before fine-tuning.

The second holds a model near its baseline on texts that are not fine-tuned on, against catastrophic forgetting: Hawkins,
Yamakoshi, Griffiths & Goldberg 2020; Wilson, Petty & Frank 2023 (TACL). A loss class takes model and tokenizer, and is
called with the outputs and labels of one batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.arguments.nearest import allowed_values
from finetune.encoding.padding import IGNORED
from finetune.errors import Problem, UsageError
from finetune.lm_experiments.encoding import Row, encode_annotated, pad_rows
from finetune.lm_experiments.preprocessing import Batch, call_preprocessing, identity
from finetune.lm_experiments.span_corruption import TokenRoles
from finetune.lm_experiments.texts import read_annotated_texts
from finetune.surprisal.heads import task_of

CACHE_BYTES = 1 << 30
STRATEGIES = ("once", "per_batch")
REDUCTIONS = ("none", "batchmean", "mean", "sum")
Arrays = dict[str, torch.Tensor]


class OutputsDefaultLoss:
    """The loss that the model itself computed, unchanged."""

    def __init__(self, model: object, tokenizer: PreTrainedTokenizerBase) -> None:
        del model, tokenizer

    def __call__(self, outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        del labels
        return outputs["loss"]


def kl_from_baseline(
    logits: torch.Tensor, baseline: torch.Tensor, counted: torch.Tensor, reduction: str = "none"
) -> torch.Tensor:
    """KL(baseline || model) of each text in nats: the mean over its counted positions.

    KL(p || q) = sum_w p(w) (log p(w) - log q(w)) (Kullback & Leibler 1951), p the baseline's distribution.

    Args:
        logits: of the model, (texts, length, vocabulary).
        baseline: log-probabilities of the baseline, the same shape; or of fewer ids, where the model got new tokens:
            then both are compared over the ids that the baseline knows.
        counted: (texts, length), True where a token is predicted.
        reduction: as of torch.nn.KLDivLoss, over the counted positions and the vocabulary of a text. `none` and
            `batchmean` give the divergence, `sum` adds up those of all positions, `mean` divides by the vocabulary, too.

    Returns:
        (texts,); 0 for a text without counted positions.
    """
    tuned = functional.log_softmax(logits[..., : baseline.shape[-1]].float(), dim=-1)
    each = functional.kl_div(tuned, baseline, reduction="none", log_target=True).sum(-1)
    total, positions = torch.where(counted, each, 0).sum(-1), counted.sum(-1).clamp(min=1)
    if reduction == "sum":
        return total
    return total / (positions * baseline.shape[-1] if reduction == "mean" else positions)


class KLBaselineLoss:
    """`scaleby` times the mean divergence from the baseline on texts drawn from other data sets, equally weighted.

    Args:
        model: the model that is tuned; its state now is the baseline, unless `model_kwargs` load it anew by its name.
        tokenizer: of both.
        dataset: files of texts, as for training.
        batch_size: texts that go through the models at once.
        scaleby: factor, or one per data set.
        n_examples_per_batch: texts drawn for each weight update, or one number per data set; None takes all.
        model_kwargs: for `from_pretrained` of the baseline.
        tokenizer_kwargs: for `from_pretrained` of the tokenizer that reads the data sets, where it is another one.
        reduction: how the divergences of a text's tokens are put together (`kl_from_baseline`).
        size_average: torch's older way to say `reduction`.
        reduce: likewise.
        split_name: no effect: a file is one split.
        preprocessing_num_workers: no effect: texts are encoded in one go.
        overwrite_cache: no effect: nothing is cached on disk.
        max_samples_per_dataset: only the first so many texts, or one number per data set.
        max_sample_length: ids of a text at most.
        data_preprocessing_fn: what is done to texts before both models see them; the same for both.
        data_preprocessing_fn_kwargs: its keywords.
        data_preprocessing_fn_strategy: `once`, or `per_batch` for other draws at each update.
        return_all: give the scaled divergence of each text instead of the mean.
        seed: decides which texts are drawn; so does the number of the call.

    Raises:
        UsageError: lists that are not one value per data set, an unknown strategy.
        DataError: data sets that cannot be read.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        dataset: str | Sequence[str],
        batch_size: int = 32,
        scaleby: float | Sequence[float] = 2.5,
        n_examples_per_batch: int | Sequence[int] | None = 20,
        model_kwargs: Mapping[str, Any] | None = None,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "none",
        split_name: str | Sequence[str] = "train",
        preprocessing_num_workers: int | None = None,
        overwrite_cache: bool = False,
        max_samples_per_dataset: int | Sequence[int] | None = None,
        max_sample_length: int = 1024,
        data_preprocessing_fn: Callable[..., Batch] = identity,
        data_preprocessing_fn_kwargs: Mapping[str, Any] | None = None,
        data_preprocessing_fn_strategy: str = "once",
        return_all: bool = False,
        seed: int = 0,
    ) -> None:
        del split_name, preprocessing_num_workers, overwrite_cache  # the document has them
        self.model, self.tokenizer = model, _find_tokenizer(tokenizer, tokenizer_kwargs)
        self.reduction = resolve_reduction(reduction, size_average, reduce)
        paths = [dataset] if isinstance(dataset, str) else list(dataset)
        self.scales = _one_each(scaleby, paths, "scaleby")
        self.numbers = _one_each(n_examples_per_batch, paths, "n_examples_per_batch")
        limits = _one_each(max_samples_per_dataset, paths, "max_samples_per_dataset")
        _require_strategy(data_preprocessing_fn_strategy)
        self.batch_size, self.return_all, self.seed, self.calls = batch_size, return_all, seed, 0
        self.function, self.kwargs = data_preprocessing_fn, dict(data_preprocessing_fn_kwargs or {})
        self.fixed = data_preprocessing_fn_strategy == "once"
        self.task = task_of(model)
        self.rows = [self._read(path, limit, max_sample_length) for path, limit in zip(paths, limits, strict=True)]
        self.baseline = _make_baseline(model, model_kwargs)
        self.cache: dict[tuple[int, int], torch.Tensor] = {}
        self.cached_bytes = 0

    def _read(self, path: str, limit: int | None, max_length: int) -> list[Row]:
        texts = read_annotated_texts(Path(path), max_samples=limit)
        return encode_annotated(texts.texts, texts.labels, self.tokenizer, task=self.task, max_length=max_length)

    def __call__(self, outputs: Any = None, labels: Any = None) -> torch.Tensor:
        """The scaled divergence on the texts of this call; outputs and labels of the batch are not looked at."""
        del outputs, labels
        draws = [self._draw(number) for number in range(len(self.rows))]
        self.calls += 1
        scaled = [
            scale * torch.cat([self._diverge(number, part) for part in self._parts(drawn)])
            for number, (drawn, scale) in enumerate(zip(draws, self.scales, strict=True))
        ]
        return torch.cat(scaled) if self.return_all else torch.stack([item.mean() for item in scaled]).mean()

    def _draw(self, number: int) -> list[int]:
        size, wanted = len(self.rows[number]), self.numbers[number]
        if wanted is None or wanted >= size:
            return list(range(size))
        return sorted(
            np.random.default_rng([self.seed, self.calls, number]).choice(size, wanted, replace=False).tolist()
        )

    def _parts(self, drawn: Sequence[int]) -> Iterable[Sequence[int]]:
        return (drawn[start : start + self.batch_size] for start in range(0, len(drawn), self.batch_size))

    def _diverge(self, number: int, drawn: Sequence[int]) -> torch.Tensor:
        """The divergence of each row that preprocessing makes of those texts of a data set."""
        inputs, widths = self._inputs(number, drawn)
        logits = self.model(**inputs).logits
        baseline = self._find_baseline([(number, row) for row in drawn], inputs, widths)
        return kl_from_baseline(logits, baseline, counted_positions(inputs["labels"], self.task), self.reduction)

    def _inputs(self, number: int, drawn: Sequence[int]) -> tuple[Arrays, list[int]]:
        """Padded inputs, and the width of each text's predictions where they are the same at every call (else none)."""
        if not self.fixed:
            rows = [self.rows[number][row] for row in drawn]
            return self._prepare(rows, [self.seed, self.calls, number]), []
        singles = [self._prepare([self.rows[number][row]], [self.seed, number, row]) for row in drawn]
        repeatable = all(len(item["input_ids"]) == 1 for item in singles)
        widths = [item["labels"].shape[1] for item in singles] if repeatable else []
        return join_batches(singles, TokenRoles.of(self.tokenizer).pad_id), widths

    def _prepare(self, rows: Sequence[Row], draw: list[int]) -> Arrays:
        rng = np.random.default_rng(draw)
        batch = call_preprocessing(
            self.function, pad_rows(rows, self.tokenizer), self.tokenizer, self.kwargs, rng=rng, model=self.model
        )
        batch = identity(batch, self.tokenizer)
        names = ("input_ids", "attention_mask", "labels")
        return {name: torch.from_numpy(batch[name]).to(self.model.device) for name in names}

    def _find_baseline(self, keys: Sequence[tuple[int, int]], inputs: Arrays, widths: Sequence[int]) -> torch.Tensor:
        """Log-probabilities of the baseline; those of fixed texts are computed once and kept, up to 1 GiB."""
        if widths and all(key in self.cache for key in keys):
            return torch.nn.utils.rnn.pad_sequence([self.cache[key] for key in keys], batch_first=True)
        with torch.no_grad():
            logits = cast(nn.Module, self.baseline).to(self.model.device)(**inputs).logits
        found = functional.log_softmax(logits.float(), dim=-1)
        for key, values, width in zip(keys, found, widths, strict=True) if widths else ():
            self._keep(key, values[:width])
        return found

    def _keep(self, key: tuple[int, int], values: torch.Tensor) -> None:
        size = values.numel() * values.element_size()
        if key not in self.cache and self.cached_bytes + size <= CACHE_BYTES:
            self.cache[key] = values.clone()
            self.cached_bytes += size


def counted_positions(labels: torch.Tensor, task: str) -> torch.Tensor:
    """Positions whose prediction is labelled: a causal model predicts at each position the label of the next."""
    labelled = labels != IGNORED
    return functional.pad(labelled[:, 1:], (0, 1)) if task == "lm" else labelled


def join_batches(batches: Sequence[Arrays], pad_id: int) -> Arrays:
    """Batches of different widths as one."""
    fillers = {"input_ids": pad_id, "attention_mask": 0, "labels": IGNORED}
    return {
        name: torch.nn.utils.rnn.pad_sequence(
            [row for batch in batches for row in batch[name]], batch_first=True, padding_value=filler
        )
        for name, filler in fillers.items()
    }


def _make_baseline(model: PreTrainedModel, model_kwargs: Mapping[str, Any] | None) -> PreTrainedModel:
    if model_kwargs:
        baseline = type(model).from_pretrained(model.name_or_path, **model_kwargs)
    else:
        baseline = copy.deepcopy(model)
    return baseline.eval().requires_grad_(False)


def _find_tokenizer(tokenizer: PreTrainedTokenizerBase, kwargs: Mapping[str, Any] | None) -> Any:
    return type(tokenizer).from_pretrained(tokenizer.name_or_path, **kwargs) if kwargs else tokenizer


def resolve_reduction(reduction: str, size_average: bool | None, reduce: bool | None) -> str:
    """The reduction that torch makes of its newer and its two older arguments.

    Raises:
        UsageError: there is no such reduction.
    """
    if reduction not in REDUCTIONS:
        raise UsageError(Problem(f"KLBaselineLoss.reduction is {reduction!r}", allowed_values(reduction, REDUCTIONS)))
    if size_average is None and reduce is None:
        return reduction
    return "none" if reduce is False else "sum" if size_average is False else "mean"


def _one_each(value: object, paths: Sequence[str], name: str) -> list[Any]:
    """One value for all data sets, or one each.

    Raises:
        UsageError: a list of another length.
    """
    if not isinstance(value, list | tuple):
        return [value] * len(paths)
    if len(value) != len(paths):
        found = f"KLBaselineLoss.{name} has {len(value)} values for {len(paths)} data sets"
        raise UsageError(Problem(found, "it takes one for all, or one each"))
    return list(value)


def _require_strategy(strategy: str) -> None:
    if strategy not in STRATEGIES:
        found = f"KLBaselineLoss.data_preprocessing_fn_strategy is {strategy!r}"
        raise UsageError(Problem(found, allowed_values(strategy, STRATEGIES)))
