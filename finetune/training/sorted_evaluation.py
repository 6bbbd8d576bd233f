"""Evaluation and prediction of a Trainer over rows sorted by length, in batches as large as is quick; results in order.

In place of `Trainer.evaluation_loop`, whose batches are as the rows come, under an autocast that rounds all weights anew
for each of them. What is around it (when to evaluate, metrics, callbacks, logs) stays the Trainer's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset
from transformers import EvalPrediction, PreTrainedModel, Trainer
from transformers.trainer_utils import EvalLoopOutput, denumpify_detensorize

from finetune.encoding.padding import IGNORED
from finetune.models.families import find_family
from finetune.models.prediction import TOKENS_AT_ONCE, compute_batches, group_by_length
from finetune.models.sparse_mlm_head import is_sparse

logger = logging.getLogger(__name__)

Parts = tuple[torch.Tensor, ...]


def why_not_sorted(trainer: Trainer, rows: object) -> str | None:
    """Why the Trainer's own loop has to run; None where this file's does the same."""
    args = trainer.args
    if args.world_size > 1 or args.n_gpu > 1 or trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        return "several devices share it"
    if args.device.type != "cpu":
        return "it was not measured on an accelerator"
    if not (isinstance(trainer.model, PreTrainedModel) or getattr(trainer.model, "evaluates_as_one", False)):
        return f"{type(trainer.model).__name__} is more than a model of transformers"
    if not hasattr(rows, "__len__") or isinstance(rows, IterableDataset) or not _names_ids(rows):
        return "the rows have no known lengths"
    if args.torch_compile or args.fp16_full_eval or args.bf16_full_eval:
        return "the model is compiled or cast for it"
    if trainer.preprocess_logits_for_metrics is None or args.include_for_metrics:
        return "all logits, losses or inputs are asked for"
    return None


def _names_ids(rows: Any) -> bool:
    return hasattr(rows, "lengths") or "input_ids" in getattr(rows, "column_names", ())


def row_lengths(rows: Any) -> npt.NDArray[np.integer]:
    """Tokens of each row, (rows,); a token store knows them."""
    if hasattr(rows, "lengths"):
        return np.asarray(rows.lengths)
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    lengths: Callable[..., Any] = rows.with_format("arrow")[:]["input_ids"].combine_chunks().value_lengths
    return lengths().to_numpy(zero_copy_only=False)


def evaluate_sorted(trainer: Trainer, loader: DataLoader, description: str, prefix: str) -> EvalLoopOutput:
    """What `Trainer.evaluation_loop` returns for the rows of `loader`, without a loss of its own where metrics have none."""
    rows: Dataset = loader.dataset
    batches = choose_batches(trainer, rows)
    logger.info("***** Running %s *****", description)
    logger.info("  Num examples = %d, in %d batches of similar length", len(rows), len(batches))  # type: ignore[arg-type]
    _tell_optimizer(trainer)
    handler: Any = trainer.callback_handler
    handler.eval_dataloader = batches
    chosen: list[list[int]] = []
    found: list[tuple[Parts, Parts]] = []
    preprocess: Any = trainer.preprocess_logits_for_metrics
    read = _reader(rows, loader.collate_fn)
    for batch in compute_batches(trainer.model, read, batches, bf16=bool(trainer.args.bf16)):  # type: ignore[arg-type]
        labels = batch.inputs.get("labels")
        chosen.append(batch.rows)
        found.append((_parts(preprocess(batch.logits, labels)), _parts(labels)))
        trainer.control = handler.on_prediction_step(trainer.args, trainer.state, trainer.control)
    handler.eval_dataloader = loader
    predictions, labels = (_gather(chosen, parts) for parts in zip(*found, strict=True))
    return EvalLoopOutput(predictions, labels, _score(trainer, predictions, labels, prefix), len(rows))  # type: ignore[arg-type]


def choose_batches(trainer: Trainer, rows: Any) -> list[list[int]]:
    """Rows of each batch: many, but as many as were asked for where each token has logits of a whole vocabulary."""
    model: Any = trainer.model
    whole = model.get_output_embeddings() is not None and not is_sparse(model)
    tokens = 0 if whole else TOKENS_AT_ONCE
    one_length, size = find_family(model.config).reads_padding, trainer.args.eval_batch_size
    lengths: list[int] = row_lengths(rows).tolist()
    return list(group_by_length(lengths, batch_size=size, tokens=tokens, one_length=one_length))


def _reader(rows: Any, collate: Callable[[list[Any]], dict[str, Any]]) -> Callable[[list[int]], dict[str, Any]]:
    if hasattr(rows, "__getitems__"):
        return lambda chosen: collate(rows.__getitems__(chosen))
    return lambda chosen: collate([rows[index] for index in chosen])


def _tell_optimizer(trainer: Trainer) -> None:
    """Optimizers without a schedule keep other weights for evaluation, as the Trainer tells them."""
    switch = getattr(trainer.optimizer, "eval", None)
    if callable(switch):
        switch()


def _parts(values: Any) -> Parts:
    if values is None:
        return ()
    return tuple(values) if isinstance(values, tuple | list) else (values,)


def _gather(chosen: Sequence[list[int]], parts: Sequence[Parts]) -> Any:
    """Each part of all batches as one array, rows in their order; one array where there is one part, None where none is."""
    whole = tuple(_in_order(chosen, [batch[place].numpy() for batch in parts]) for place in range(len(parts[0])))
    return whole if len(whole) > 1 else whole[0] if whole else None


def _in_order(chosen: Sequence[list[int]], arrays: Sequence[npt.NDArray]) -> npt.NDArray:
    """Rows of all batches, widths filled up with -100. Sums of whole batches stay in the order of these."""
    width = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True))
    by_row = all(len(indices) == len(array) for indices, array in zip(chosen, arrays, strict=True))
    result = np.full((sum(map(len, arrays)), *width), IGNORED, dtype=arrays[0].dtype)
    start = 0
    for indices, array in zip(chosen, arrays, strict=True):
        places = np.array(indices) if by_row else np.arange(start, start + len(array))
        result[(places, *(slice(size) for size in array.shape[1:]))] = array
        start += len(array)
    return result


def _score(trainer: Trainer, predictions: Any, labels: Any, prefix: str) -> dict[str, Any]:
    compute: Any = trainer.compute_metrics
    if compute is None or labels is None:
        return {}
    metrics = denumpify_detensorize(compute(EvalPrediction(predictions=predictions, label_ids=labels)))
    return {name if name.startswith(f"{prefix}_") else f"{prefix}_{name}": value for name, value in metrics.items()}
