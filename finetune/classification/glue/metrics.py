"""The official metrics of the nine GLUE tasks (Wang et al. 2018, table 1), under their new and their old names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from finetune.classification.metrics import confusion_matrix, matthews, pearson, score_multiclass, spearman


def score_glue(metrics: Sequence[str], predicted: ArrayLike, expected: ArrayLike) -> dict[str, float]:
    """Scores named in `metrics`, and `combined_score`, their mean, where there is more than one.

    `metrics` may hold matthews_correlation, accuracy, f1 (of label 1), f1_macro, pearson, spearmanr. The arrays
    (examples,) hold label ids, or values for the two correlations.
    """
    functions = {
        "matthews_correlation": matthews,
        "accuracy": _accuracy,
        "f1": _f1_of_label_one,
        "f1_macro": lambda left, right: score_multiclass(left, right)["f1_macro"],
        "pearson": pearson,
        "spearmanr": spearman,
    }
    scores = {name: float(functions[name](predicted, expected)) for name in metrics}
    if len(scores) > 1:
        scores["combined_score"] = float(np.mean(list(scores.values())))
    return scores


def rename_to_old(scores: Mapping[str, float]) -> dict[str, float]:
    """The same scores under the names of transformers 2: mcc, acc, f1, acc_and_f1, pearson, spearmanr, corr, loss."""
    combined = "corr" if "pearson" in scores or "eval_pearson" in scores else "acc_and_f1"
    names = {"matthews_correlation": "mcc", "accuracy": "acc", "combined_score": combined}
    plain = {name.removeprefix("eval_"): value for name, value in scores.items()}
    return {names.get(name, name): value for name, value in plain.items()}


def _accuracy(predicted: ArrayLike, expected: ArrayLike) -> float:
    return float(np.mean(np.asarray(predicted) == np.asarray(expected)))


def _f1_of_label_one(predicted: ArrayLike, expected: ArrayLike) -> float:
    table = confusion_matrix(predicted, expected, number=2)
    found = table[0, 1] + table[1, 1] + table[1, 0] + table[1, 1]
    return float(2 * table[1, 1] / found) if found else 0.0
