"""`--class_weights FILE`: one factor per label for the loss, from lines of `label weight` or a JSON object."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from finetune.arguments.nearest import allowed_values
from finetune.data.files import listed, read_text
from finetune.data.json_values import parse_json
from finetune.errors import DataError, Problem, ProblemList

FORM = "the file holds lines of `label weight`, separated by a tab or a space, or one JSON object"


def read_class_weights(path: Path, labels: Sequence[str]) -> list[float]:
    """Weights in the order of `labels`.

    Raises:
        DataError: the file is missing, a line is no pair, a label is unknown or has no weight, a weight is not positive.
    """
    text = read_text(path)
    problems = ProblemList()
    weights = read_json(text, path) if text.lstrip().startswith("{") else read_pairs(text, path, problems)
    problems.extend(
        Problem(f"there is no label {label!r}", allowed_values(label, labels), path=path)
        for label in weights
        if label not in labels
    )
    missing = [label for label in labels if label not in weights]
    if missing:
        problems.append(Problem(f"there is no weight for {listed(missing, limit=40)}", FORM, path=path))
    problems.extend(
        Problem(f"the weight of {label!r} is {weight!r}", "a positive number is needed", path=path)
        for label, weight in weights.items()
        if not is_weight(weight)
    )
    problems.raise_any()
    return [float(weights[label]) for label in labels]


def is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= sys.float_info.max


def read_json(text: str, path: Path) -> dict[str, float]:
    try:
        return parse_json(text)
    except ValueError as error:
        raise DataError(Problem(f"not valid JSON: {error}", path=path)) from error


def read_pairs(text: str, path: Path, problems: ProblemList) -> dict[str, float]:
    weights: dict[str, float] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        label, _, weight = line.strip().rpartition("\t" if "\t" in line.strip() else " ")
        try:
            weights[label.strip()] = float(weight)
        except ValueError:
            problems.append(Problem(f"{line.strip()!r:.80} is no label with its weight", FORM, path=path, line=number))
    return weights
