"""What token classification adds to the Trainer: metrics during training, and predictions for words."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from transformers import EvalPrediction, Trainer
from transformers.trainer_utils import PredictionOutput

from finetune.encoding.padding import IGNORED
from finetune.tagging.encoding import EncodedTagging
from finetune.tagging.word_predictions import WordPredictions, collect_word_predictions
from finetune.training.losses import EvaluationLoss, mean_loss

ScoreSubwords = Callable[[npt.NDArray, npt.NDArray], dict[str, float]]
Decode = Callable[[npt.NDArray, npt.NDArray[np.int64]], npt.NDArray[np.int64]]


def build_subword_metrics(score: ScoreSubwords) -> Callable[[EvalPrediction], dict[str, float]]:
    """The `eval_*` metrics: scores over all labelled subwords (as thai2transformers and run_ner.py), and the mean loss.

    The loss is the sum over labelled subwords of the whole split divided by their number; it replaces the Trainer's own
    mean of batch means, which depends on the batches.
    """

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        predicted, loss_sums, labels = read_outputs(prediction)
        return {"loss": mean_loss(loss_sums, labels), **score(predicted, labels)}

    return compute


@dataclass(frozen=True)
class TaggedSplit:
    """What the model says of a split: a label id for each word; the mean loss of labelled subwords, None without labels."""

    words: WordPredictions
    loss: float | None
    seconds: float
    confidence: npt.NDArray[np.float32]  # (words,), the probability of each word's label
    probabilities: npt.NDArray | None = None  # (words, labels), where they were asked for


def predict_tags(
    trainer: Trainer, encoded: EncodedTagging, *, padding_side: str = "right", decode: Decode | None = None
) -> TaggedSplit:
    """Tag every word of an encoded split.

    Args:
        trainer: as `build_trainer` made it.
        encoded: the split; its rows are predicted in their order.
        padding_side: where the collator pads.
        decode: from logits (words, labels) and sentence offsets (sentences + 1,) to label ids (words,); None takes the
            best label of each word.
    """
    evaluation, compute_metrics = trainer.preprocess_logits_for_metrics, trainer.compute_metrics
    trainer.compute_metrics = None
    keep = keep_confidence if decode is None else keep_logits
    trainer.preprocess_logits_for_metrics = cast(Any, keep(cast(EvaluationLoss, evaluation)))
    start = time.perf_counter()
    try:
        output = trainer.predict(cast(Any, encoded.dataset), metric_key_prefix="predict")
    finally:
        trainer.preprocess_logits_for_metrics, trainer.compute_metrics = evaluation, compute_metrics
    seconds = time.perf_counter() - start
    values, loss_sums, labels = read_outputs(output)
    words = collect_word_predictions(values, encoded, padding_side=padding_side)
    if decode is None:
        of_subwords = cast(tuple[npt.NDArray, ...], output.predictions)[2]
        confidence = collect_word_predictions(of_subwords, encoded, padding_side=padding_side).values
    else:
        logits, words = words.values, WordPredictions(decode(words.values, words.offsets), words.offsets)
        confidence = softmax(logits.astype(np.float32), axis=-1)[np.arange(len(logits)), words.values]
    loss = mean_loss(loss_sums, labels) if bool(np.any(labels != IGNORED)) else None
    return TaggedSplit(words, loss, seconds, confidence)


def read_outputs(prediction: EvalPrediction | PredictionOutput) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """Label ids (rows, width) or logits (rows, width, labels), loss sums (rows, 1), and labels (rows, width)."""
    values, loss_sums = cast(tuple[npt.NDArray, ...], prediction.predictions)[:2]
    return values, loss_sums, cast(npt.NDArray, prediction.label_ids)


def keep_confidence(evaluation: EvaluationLoss) -> Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]]:
    """`preprocess_logits_for_metrics` that also keeps the probability of each best label, (batch, length)."""
    return lambda logits, labels: (*evaluation(logits, labels), logits.float().softmax(-1).amax(-1))


def keep_logits(evaluation: EvaluationLoss) -> Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]]:
    """`preprocess_logits_for_metrics` that keeps the logits where `evaluation` would keep only the best label."""
    return lambda logits, labels: (logits.float(), evaluation(logits, labels)[1])
