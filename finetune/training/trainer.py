"""The one subclass of transformers' Trainer: what has no extension point of its own, each method with what it replaces.

Everything else is a callback, a collator or a loss (`building.py`). `OVERRIDDEN` names the methods that a test compares
with the installed transformers (first those of `resuming.py`), so that an upgrade which drops one is told in a sentence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import torch
from accelerate.data_loader import BatchSamplerShard
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers.trainer_utils import EvalLoopOutput

from finetune.errors import Problem, UsageError
from finetune.models.adapting import Trained
from finetune.run.workers import LeaveToParent
from finetune.training.batch_parts import BatchParts
from finetune.training.even_shares import EvenShares, repeats_rows
from finetune.training.folded_clipping import can_fold, fold_into
from finetune.training.native_adamw import use_native_adamw
from finetune.training.parameter_groups import build_groups, needs_groups
from finetune.training.regularizing import ConsistentAnswers, MovedEmbeddings, Step
from finetune.training.resuming import ResumingTrainer
from finetune.training.sorted_evaluation import evaluate_sorted, why_not_sorted
from finetune.training.token_rate import TokenRate

logger = logging.getLogger(__name__)

CHOOSING = {"params", "model", "optimizer_dict"}  # keywords of optimizers that make groups of their own
OVERRIDDEN = (
    *("training_step", "compute_loss"),
    *("_init_training_state", "get_batch_samples", "_maybe_log_save_evaluate", "_save_checkpoint", "log"),
    *("create_accelerator_and_postprocess", "_save_optimizer_and_scheduler"),
    *("_save", "_load_from_checkpoint", "_load_optimizer_and_scheduler", "_load_best_model", "_evaluate"),
    "_get_num_items_in_batch",
    "_get_train_sampler",
    "_get_eval_sampler",
    "_get_dataloader",
    "evaluation_loop",
    "get_train_dataloader",
    "_clip_grad_norm",
    "create_optimizer",
)


class FinetuneTrainer(ResumingTrainer):
    """A Trainer whose runs end where they end, whose items are counted by the loss, and which evaluates every row.

    All that is set here may be set until training begins.
    """

    count_items: Callable[[Mapping[str, Tensor]], Tensor] | None = None  # of a batch: what its losses are divided by
    train_sampler: Sampler | None = None
    clips_in_optimizer = False
    native_adamw = False  # where the optimizer is torch's fused AdamW
    sorts_evaluation = False
    batch_parts: BatchParts | None = None
    adapted: Trained | None = None
    said: frozenset[str] = frozenset()
    token_rate: TokenRate | None = None
    consistent: ConsistentAnswers | None = None
    moved: MovedEmbeddings | None = None
    shares: type[BatchSamplerShard] = EvenShares  # how several processes share batches out

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Replaces `auto_find_batch_size`, which changes the effective batch, by parts (`batch_parts.py`); counts tokens."""
        if self.token_rate is not None:
            self.token_rate.count(inputs)
        step: Step = super().training_step if self.moved is None else partial(self.moved.step, super().training_step)
        if self.batch_parts is None:
            return step(model, inputs, num_items_in_batch)
        return self.batch_parts.step(step, model, inputs, num_items_in_batch)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Replaces one answer by two where they are to agree (`regularizing.py`), in training."""
        plain = super().compute_loss
        if self.consistent is None or not model.training:
            return plain(model, inputs, return_outputs, num_items_in_batch)
        answer = lambda: plain(model, dict(inputs), True, num_items_in_batch)  # noqa: E731
        loss, outputs = self.consistent.compute(answer, inputs["labels"], num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Tensor | int | None:
        """Replaces the count of labels that are not -100 where a loss is divided by other numbers, or by several.

        `count_items` of all batches of an update, summed over all processes.
        """
        if self.count_items is None:
            return super()._get_num_items_in_batch(batch_samples, device)
        if not batch_samples:
            return None
        counts = cast(Tensor, sum(map(self.count_items, batch_samples))).to(device)
        if self.args.world_size > 1:
            counts = cast(Tensor, self.accelerator.gather(counts[None])).sum(0)
        return counts

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        """Replaces the choice by `train_sampling_strategy` where a task or the fast path brings a sampler of its own."""
        return super()._get_train_sampler(train_dataset) if self.train_sampler is None else self.train_sampler

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler | None:
        """Replaces shuffling with `train_sampling_strategy group_by_length`: scores are of rows in their order."""
        return SequentialSampler(eval_dataset)

    def _get_dataloader(self, *words: Any, **options: Any) -> DataLoader:
        """Replaces `dataloader_drop_last` and `even_batches` in evaluation, and what ends a worker.

        The one would leave out the last rows, the other wait for ever for a process that has no batch left.
        """
        shards = self.accelerator.dataloader_config
        asked = self.args.dataloader_drop_last, shards.even_batches
        if not options.get("is_training"):
            self.args.dataloader_drop_last, shards.even_batches = False, True
        try:
            loader = super()._get_dataloader(*words, **options)
            own: Any = getattr(loader, "base_dataloader", loader)  # inside the one that accelerate has made
            own.worker_init_fn = LeaveToParent(own.worker_init_fn)
            return loader
        finally:
            self.args.dataloader_drop_last, shards.even_batches = asked

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Replaces batches of rows as they come, under autocast, where rows can be sorted (`sorted_evaluation.py`)."""
        if self.sorts_evaluation:
            needs_loss = bool(prediction_loss_only) or (self.compute_metrics is None and description == "Evaluation")
            reason = "nothing but the loss is asked for" if needs_loss else why_not_sorted(self, dataloader.dataset)
            if reason is None:
                return evaluate_sorted(self, dataloader, description, metric_key_prefix)
            self._say_once(f"Rows are evaluated in the Trainer's own loop, unsorted: {reason}.")
        return super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)

    def _say_once(self, line: str) -> None:
        if line not in self.said:
            self.said = self.said | {line}
            logger.info("%s", line)

    def get_train_dataloader(self) -> DataLoader:
        """Replaces accelerate's way to fill up the last step of an epoch (`even_shares.py`)."""
        loader = super().get_train_dataloader()
        shard: Any = loader.batch_sampler
        if type(shard) is BatchSamplerShard and shard.num_processes > 1 and repeats_rows(shard):
            shard.__class__ = self.shares  # the loader that accelerate has made holds it in several places
        return loader

    def _clip_grad_norm(self, model: Any) -> Tensor | None:
        """Replaces a pass over all gradients where the fused optimizer can divide them as it reads them."""
        optimizer: Any = getattr(self.optimizer, "optimizer", self.optimizer)
        if self.clips_in_optimizer and can_fold(optimizer, self.accelerator):
            return fold_into(optimizer, model.parameters(), self.args.max_grad_norm)
        return super()._clip_grad_norm(model)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Replaces the two groups of parameters where parts have rates of their own, and AdamW's arithmetic."""
        optimizer = self._create_optimizer(model)
        if self.native_adamw:
            use_native_adamw(optimizer, cast(torch.nn.Module, self.model))
        return optimizer

    def _create_optimizer(self, model: Any) -> torch.optim.Optimizer:
        if self.optimizer is not None or self.adapted is None or not needs_groups(self.adapted):
            return super().create_optimizer(model)
        trained: Any = self.model if model is None else model
        kind, options = self.find_optimizer(trained)
        asked = {"rate": self.args.learning_rate, "decay": self.args.weight_decay}
        groups = build_groups(trained, self.adapted, **asked, decaying=self.get_decay_parameter_names(trained))
        self.optimizer = kind(groups, **options)
        return self.optimizer

    def find_optimizer(self, model: Any) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
        """The class of the optimizer and its keywords, where it takes groups of parameters.

        Raises:
            UsageError: it makes groups of its own.
        """
        kind, options = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(self.args, model)
        if not isinstance(kind, type) or not issubclass(kind, torch.optim.Optimizer) or {*options} & CHOOSING:
            found = f"--optim {self.args.optim} groups parameters itself: parts can have no rates or times of their own"
            raise UsageError(Problem(found, remedy="use --optim adamw_torch_fused"))
        return kind, options
