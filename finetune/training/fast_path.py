"""The fast path put together: what is switched on for a model and its Trainer, and one line that says so.

Each part is exact (or statistically equal: dropout draws other masks with the same probability) and stands in a file of its
own with the test that proves it; `--no_fast_path` and the flags beside it give the plain recipe.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    PretrainedConfig,
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.training_table import TrainingValues
from finetune.models.fast_dropout import use_fast_dropout
from finetune.models.native.serving import use_native_encoder, why_no_kernels
from finetune.models.sparse_embedding import (
    follow_weight_decay,
    serves_optimizer,
    use_full_embedding,
    use_sparse_embedding,
)
from finetune.models.sparse_mlm_head import use_sparse_mlm_head
from finetune.models.unpadding.hooks import is_unpadded, unpad_encoder
from finetune.training.allocator import keep_freed_memory
from finetune.training.fast_prediction import describe
from finetune.training.length_batches import LengthBatchSampler, use_length_batches
from finetune.training.precision import PrecisionChoice, choose_precision
from finetune.training.shared_gradients import share_gradients
from finetune.training.sorted_evaluation import row_lengths
from finetune.training.trainer import FinetuneTrainer
from finetune.training.unpadded_batches import annotate_batches

logger = logging.getLogger(__name__)

DEFAULT_OPTIMIZER = "adamw_torch_fused"


def resolve_precision(
    values: TrainingValues, options: FastPathArguments, configs: Iterable[PretrainedConfig] = ()
) -> TrainingValues:
    """`values` (TrainingArguments by name) with the number format of this hardware, unless one was asked for."""
    if options.no_fast_path and not {"fp16", "bf16"} & set(values):
        return values.copy()
    choice: PrecisionChoice = choose_precision(values, configs)
    logger.info("%s", choice)
    settled: TrainingValues = {**values, **choice.training_values}
    if choice.dtype == "bf16" and values.get("fp16_full_eval") and not torch.accelerator.is_available():
        logger.warning("--fp16_full_eval is passed over: evaluation is in bfloat16, as training; float16 needs a GPU.")
        settled["fp16_full_eval"] = False
    return settled


def prepare_model(
    model: PreTrainedModel,
    options: FastPathArguments,
    values: TrainingValues,
    *,
    train: Any,
    sparse_embedding: bool,
    special_ids: Collection[int] = (),
) -> None:
    """Switch on, in place, what the options leave on and the model supports; reasons against are logged.

    Args:
        model: on its device or not yet; not wrapped.
        options: what the user switched off.
        values: settled TrainingArguments by name.
        train: the training rows, or None; their `input_ids` are what the data can reach.
        sparse_embedding: nothing but the rows of `train` can reach the embedding (not so where collators replace ids).
        special_ids: ids that collators add, above all the padding id (not always the one that the model's config names).
    """
    if options.no_fast_path:
        return
    on_cpu = not torch.cuda.is_available() or bool(values.get("use_cpu"))
    if on_cpu:
        keep_freed_memory()
    said = [
        describe("unpadded encoder", unpad_model(model, options), options.no_unpad),
        *(describe_native(model, options, values) if on_cpu else []),
        describe("sparse vocabulary head", use_sparse_head(model, options), options.no_sparse_head),
        describe_dropout(model, options) if on_cpu else "",
        describe_sparse_embedding(model, options, values, train, special_ids)
        if sparse_embedding and isinstance(train, Dataset)
        else "",
    ]
    logger.info("Fast path: %s.", "; ".join(text for text in said if text) or "nothing to do")


def unpad_model(model: PreTrainedModel, options: FastPathArguments) -> str | None:
    return None if options.no_unpad else unpad_encoder(model, fast_dropout=not options.no_fast_dropout)


def use_native(model: PreTrainedModel, options: FastPathArguments, values: TrainingValues) -> str | None:
    """None where the layers run as one native step, empty where that is not asked for, else the reason."""
    if options.no_native or options.no_unpad or not is_unpadded(model):
        return ""
    if values.get("gradient_checkpointing"):
        return "gradient checkpointing keeps less than it needs"
    return "torch.compile takes the layers" if values.get("torch_compile") else use_native_encoder(model)


def why_no_native_adamw(options: FastPathArguments, values: TrainingValues) -> str | None:
    """None where AdamW runs in C++, empty where another optimizer was asked for or nothing is trained, else the reason."""
    other = str(values.get("optim") or DEFAULT_OPTIMIZER) != DEFAULT_OPTIMIZER
    if other or options.no_native or not values.get("do_train", True):
        return ""
    return why_no_kernels()


def use_sparse_head(model: PreTrainedModel, options: FastPathArguments) -> str | None:
    """None where it is in use or no masked-language-model head is there; the reason elsewhere."""
    is_masked_lm = "MaskedLM" in type(model).__name__ or "PreTraining" in type(model).__name__
    return use_sparse_mlm_head(model) if is_masked_lm and not options.no_sparse_head else ""


def describe_native(model: PreTrainedModel, options: FastPathArguments, values: TrainingValues) -> list[str]:
    """Encoder and optimizer; what both lack is said once."""
    encoder, optimizer = use_native(model, options, values), why_no_native_adamw(options, values)
    if optimizer and encoder == optimizer:
        return [describe("native encoder step and AdamW", encoder, options.no_native)]
    steps = {"native encoder step": encoder, "native AdamW": optimizer}
    return [describe(what, reason, options.no_native) for what, reason in steps.items()]


def describe_dropout(model: PreTrainedModel, options: FastPathArguments) -> str:
    return "" if options.no_fast_dropout else f"fast dropout in {use_fast_dropout(model)} places"


def describe_sparse_embedding(
    model: PreTrainedModel,
    options: FastPathArguments,
    values: TrainingValues,
    train: Dataset,
    special_ids: Collection[int],
) -> str:
    """Trim the embedding to the rows that the training data reaches, where the optimizer leaves the others alone."""
    several_in_one_process = torch.cuda.device_count() > 1 and "LOCAL_RANK" not in os.environ
    optimizer = str(values.get("optim") or DEFAULT_OPTIMIZER)
    if options.no_trim_vocabulary or several_in_one_process or values.get("torch_compile"):
        return ""
    if not serves_optimizer(optimizer, float(values.get("weight_decay") or 0.0)):
        return f"all embedding rows trained (--optim {optimizer} moves rows that have no gradient)"
    written = np.unique(train.with_format("arrow")[:]["input_ids"].combine_chunks().flatten().to_numpy()).tolist()
    size = getattr(model.get_input_embeddings(), "num_embeddings", 0)
    ids = {*written, *(number for number in special_ids if number < size)}
    reason = use_sparse_embedding(model, ids)
    return (
        f"{len(ids):,} of {size:,} embedding rows trained"
        if reason is None
        else f"all embedding rows trained ({reason})"
    )


def prepare_trainer(trainer: FinetuneTrainer, options: FastPathArguments) -> None:
    """What needs the Trainer: clipping inside the optimizer, batches by length, rows without gradient that decay."""
    if options.no_fast_path:
        return
    trainer.clips_in_optimizer = trainer.sorts_evaluation = True
    trainer.native_adamw = trainer.args.device.type == "cpu" and not options.no_native and why_no_kernels() is None
    trainer.add_callback(DecayRowsWithoutGradient())
    share_gradients(trainer.accelerator)
    annotate_batches(trainer)
    if trainer.train_dataset is None or not (options.max_tokens_per_batch or options.length_window):
        return
    sampler = LengthBatchSampler(
        row_lengths(trainer.train_dataset),
        batch_size=trainer.args.train_batch_size,
        max_tokens=options.max_tokens_per_batch,
        padded=options.no_unpad,
        window=options.length_window,
        seed=trainer.args.data_seed if trainer.args.data_seed is not None else trainer.args.seed,
        processes=trainer.args.world_size,
        rank=trainer.args.process_index,
    )
    if sampler.over_budget:
        logger.warning(
            "%d texts are longer than --max_tokens_per_batch; each is a batch of its own.", sampler.over_budget
        )
    use_length_batches(trainer, sampler)


def prepare_frozen_model(
    teacher: PreTrainedModel, options: FastPathArguments, values: TrainingValues, *, reads_layers: bool
) -> torch.dtype:
    """Switch on, in place, what speeds up a model that only answers in training; returns the number format for its weights.

    That is the run's short format: weights that are not trained need no float32. A native step rounds them itself, so there
    they stay in float32. `reads_layers`: hidden states or projections of single layers are asked for.
    """
    short = torch.bfloat16 if values.get("bf16") else torch.float16 if values.get("fp16") else torch.float32
    if options.no_fast_path or options.no_unpad:
        return short
    unpad_encoder(teacher)
    on_cpu = not torch.accelerator.is_available() or bool(values.get("use_cpu"))
    if not on_cpu or options.no_native or short is torch.float16:
        return short
    reason = "single layers are asked for" if reads_layers else "it stays padded" if not is_unpadded(teacher) else None
    reason = reason or use_native_encoder(teacher, short)
    logger.info("Teacher: %s.", describe(f"native encoder step, {str(short).removeprefix('torch.')}", reason, False))
    if reason is not None:
        return short
    vocabulary = teacher.get_output_embeddings()
    if vocabulary is not None:  # autocast would round it anew in every step
        vocabulary.weight = torch.nn.Parameter(vocabulary.weight.detach().to(short), requires_grad=False)
    return torch.float32


class DecayRowsWithoutGradient(TrainerCallback):
    """Rows without a gradient shrink by the weight decay of each step, as they would with one."""

    def __init__(self) -> None:
        self.handles: list[Any] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        optimizer = getattr(kwargs["optimizer"], "optimizer", kwargs["optimizer"])
        self.handles = follow_weight_decay(kwargs["model"], optimizer)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for handle in self.handles:
            handle.remove()
        use_full_embedding(kwargs["model"])
