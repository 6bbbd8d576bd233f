"""What text classification adds to the Trainer: metrics during training, and one row of outputs per text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from transformers import EvalPrediction, Trainer
from transformers.trainer_utils import PredictionOutput

from finetune.classification.encoding import EncodedClassification
from finetune.classification.metrics import pool_windows
from finetune.training.losses import mean_loss

Outputs = npt.NDArray[np.float64]
Score = Callable[[Outputs, npt.NDArray], dict[str, float]]  # outputs (texts, labels), references -> metrics


@dataclass(frozen=True)
class PredictedTexts:
    """Outputs (texts, labels) of a split in the order of its rows; the loss is None where it has no labels."""

    outputs: Outputs
    loss: float | None


def build_text_metrics(encoded: EncodedClassification, score: Score) -> Callable[[EvalPrediction], dict[str, float]]:
    """The `eval_*` metrics of the validation split: windows of a text are averaged before anything is scored."""

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        outputs, loss = _read_outputs(prediction)
        return {"loss": loss, **score(pool_windows(outputs, encoded.examples, encoded.number), encoded.labels)}

    return compute


def predict_texts(trainer: Trainer, encoded: EncodedClassification, *, is_labelled: bool) -> PredictedTexts:
    """Outputs of the model that the Trainer holds, for every text of a split."""
    kept, trainer.compute_metrics = trainer.compute_metrics, None
    try:
        output = trainer.predict(encoded.dataset, metric_key_prefix="predict")
    finally:
        trainer.compute_metrics = kept
    outputs, loss = _read_outputs(output)
    pooled = pool_windows(outputs, encoded.examples, encoded.number)
    return PredictedTexts(pooled, loss if is_labelled else None)


def _read_outputs(prediction: EvalPrediction | PredictionOutput) -> tuple[Outputs, float]:
    """Outputs (rows, labels) and the mean loss of all decisions, as `SequenceEvaluationLoss` left them."""
    outputs, loss_sums = cast(tuple[Outputs, Outputs], prediction.predictions)
    return outputs, mean_loss(loss_sums, cast(npt.NDArray, prediction.label_ids))
