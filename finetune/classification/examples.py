"""Encoded texts as a person reads them, for `--dry_run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from finetune.classification.column_choice import ProblemType
from finetune.classification.encoding import EncodedClassification
from finetune.encoding.padding import IGNORED

EXAMPLES_SHOWN, SUBWORDS_SHOWN = 3, 40


def format_texts(
    encoded: EncodedClassification,
    tokenizer: PreTrainedTokenizerBase,
    labels: Sequence[str],
    problem_type: ProblemType,
) -> str:
    """The first texts of a split as the model sees them, with their labels."""
    lines: list[str] = []
    for number in range(min(EXAMPLES_SHOWN, len(encoded.dataset))):
        row = encoded.dataset[number]
        subwords = tokenizer.convert_ids_to_tokens(row["input_ids"])
        more = " ..." if len(subwords) > SUBWORDS_SHOWN else ""
        label = format_label(encoded.labels[encoded.examples[number]], labels, problem_type)
        lines += [
            f"Example {number + 1}: {len(subwords)} subwords, {label}",
            f"  {' '.join(subwords[:SUBWORDS_SHOWN])}{more}",
        ]
    return "\n".join(lines)


def format_label(label: Any, labels: Sequence[str], problem_type: ProblemType) -> str:
    if np.any(np.asarray(label) == IGNORED):
        return "no label"
    if problem_type is ProblemType.REGRESSION:
        return f"value {float(label):g}"
    chosen = np.flatnonzero(label).tolist() if problem_type is ProblemType.MULTI else [int(label)]
    return "label " + (", ".join(labels[index] for index in chosen) or "none")
