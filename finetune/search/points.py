"""Every point of a grid, for samplers that visit each one once: GridSampler and BruteForceSampler.

Optuna's own give a point to the number of a trial, so that a trial that fails, or is killed before it drew its values, takes
its point with it, and processes that run at once share one now and then. Here `search/turns.py` gives points to trials by
what the trials of the study hold.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from optuna.samplers import BaseSampler, BruteForceSampler, GridSampler
from optuna.trial import FrozenTrial

from finetune.arguments.nearest import allowed_values
from finetune.errors import Problem, UsageError
from finetune.search.space import Dimension

EXHAUSTIVE: tuple[type[BaseSampler], ...] = (GridSampler, BruteForceSampler)
MOST = 1_000_000  # points, each of which is a training
SEARCH_SPACE = "search_space"
FLAG = f"--study_kwargs.sampler_kwargs.{SEARCH_SPACE}"

Point = tuple[Any, ...]


@dataclass(frozen=True)
class Points:
    """The points of a grid: values by the name of their dimension, visited in an order that the seed shuffles."""

    values: Mapping[str, Sequence[Any]]
    seed: int

    def __len__(self) -> int:
        return math.prod(map(len, self.values.values()))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        points = list(itertools.product(*self.values.values()))
        random.Random(self.seed).shuffle(points)
        return (dict(zip(self.values, point, strict=True)) for point in points)

    def of_trial(self, trial: FrozenTrial) -> Point | None:
        """The values of a trial, drawn or still to be drawn, in the order of the dimensions; None where some are open."""
        held = values_held(trial)
        return tuple(held[name] for name in self.values) if all(name in held for name in self.values) else None


def describe_points(points: Points) -> str:
    """`lr of 2, epochs of 4`."""
    return ", ".join(f"{name} of {len(values)}" for name, values in points.values.items())


def values_held(trial: FrozenTrial) -> dict[str, Any]:
    """What a trial has drawn, and what it was given to draw."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def build_points(
    kind: type[BaseSampler], keywords: Mapping[str, Any], dimensions: Sequence[Dimension], seed: int
) -> Points:
    """The points that a sampler visits.

    Args:
        kind: one of EXHAUSTIVE.
        keywords: `search_space` of a GridSampler, by the name of the dimension, and `seed`.
        dimensions: what is searched.
        seed: of the order, where the keywords have none.

    Raises:
        UsageError: a range of numbers without a step, for BruteForceSampler; a search space of other names or values
            than those of `--params`; more points than anybody visits.
    """
    space = keywords.get(SEARCH_SPACE)
    if space is not None:
        _require_space(space, dimensions)
    elif kind is BruteForceSampler:
        _require_ends(dimensions)
    values = {item.name: _distinct(space[item.name]) if space is not None else _all_of(item) for item in dimensions}
    points = Points(values, int(keywords.get("seed") or seed))
    if len(points) > MOST:
        found = f"--study_kwargs.sampler {kind.__name__} would visit {len(points):,} points"
        raise UsageError(Problem(found, f"up to {MOST:,}", "search fewer values, or choose another sampler"))
    return points


def _distinct(values: Any) -> list[Any]:
    return list(dict.fromkeys(values if isinstance(values, list | tuple) else [values]))


def _all_of(item: Dimension) -> list[Any]:
    """The choices, the steps of a range, or the bounds of one that has no steps."""
    if item.kind == "categorical":
        return item.choices
    return _distinct(item.values) if _is_endless(item) else _steps(item)


def _steps(item: Dimension) -> list[Any]:
    low, high = (Decimal(str(value)) for value in item.values)
    step = Decimal(str(item.options.get("step") or 1))
    kind = int if item.kind == "int" else float
    return [kind(low + number * step) for number in range(int((high - low) / step) + 1)]


def _is_endless(item: Dimension) -> bool:
    return item.kind == "float" and not item.options.get("step")


def _require_ends(dimensions: Sequence[Dimension]) -> None:
    remedy = "give it a step or values of its own (categorical), or choose another sampler"
    problems = [
        Problem(f"BruteForceSampler cannot visit all of {item.name}", "", remedy)
        for item in dimensions
        if _is_endless(item)
    ]
    if problems:
        raise UsageError(*problems)


def _require_space(space: Any, dimensions: Sequence[Dimension]) -> None:
    names = [item.name for item in dimensions]
    if not isinstance(space, Mapping):
        raise UsageError(Problem(f"{FLAG} is {space!r}", f"{FLAG}.NAME with the values of {', '.join(names)}"))
    problems = [Problem(f"{FLAG} names {name!r}", allowed_values(name, names)) for name in space if name not in names]
    problems += [
        Problem(f"{FLAG} has no values for {name}", f"{FLAG}.{name} with all that it may be")
        for name in names
        if not _distinct(space.get(name, []))
    ]
    for item in dimensions:
        problems += [
            Problem(f"{FLAG}.{item.name} has the value {value!r}", _allowed(item))
            for value in _distinct(space.get(item.name, []))
            if not _holds(item, value)
        ]
    if problems:
        raise UsageError(*problems)


def _holds(item: Dimension, value: Any) -> bool:
    if item.kind == "categorical":
        return value in item.choices
    is_number = isinstance(value, int if item.kind == "int" else int | float) and not isinstance(value, bool)
    return is_number and item.values[0] <= value <= item.values[1]


def _allowed(item: Dimension) -> str:
    shown = ", ".join(map(str, item.choices)) if item.kind == "categorical" else " to ".join(map(str, item.values))
    return f"what --params.{item.name}.values allows: {shown}"
