"""`--params` of `finetune search` -> dimensions: which flags of a command are searched; values -> words of its line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from finetune.arguments.nearest import allowed_values
from finetune.arguments.parser import CommandParser
from finetune.errors import Problem, ProblemList, UsageError
from finetune.search.space import Dimension, Target, build_dimensions, require_place
from finetune.sweep.grid import Cell, make_cells

NAMED_BY_THE_SEARCH = ("output_dir", "metric_for_best_model", "greater_is_better", "load_best_model_at_end")
CORNERS = 64  # combinations of bounds and choices that are read by the command's parser before the first trial


def build_command_space(params: Mapping[str, Any], parser: CommandParser, command: str) -> list[Dimension]:
    """The dimensions that `--params` asks for, each a flag of the command.

    Raises:
        UsageError: with every problem: flags that it does not have, bounds that are none, what trials are judged by.
    """
    dimensions = build_dimensions(params, lambda name: _find(name, parser, command))
    problems = [
        Problem(f"--params.{item.name}.values holds {value!r}", "one value each", "search one flag by one value")
        for item in dimensions
        for value in item.values
        if isinstance(value, list | dict)
    ]
    if problems:
        raise UsageError(*problems)
    return dimensions


def _find(name: str, parser: CommandParser, command: str) -> Target:
    by_name = {spelling: item for item in parser.fields.values() for spelling in (item.name, *item.aliases)}
    item = by_name.get(name)
    if item is None:
        raise UsageError(Problem(f"{command} has no --{name} to search", allowed_values(name, by_name)))
    if item.name in NAMED_BY_THE_SEARCH:
        raise UsageError(Problem(f"--params.{name}: the search sets it itself", remedy="drop it"))
    require_place(name, (item.name,))
    value = None if item.required else item.default
    return Target({item.name: (item.name,)}, value, item)


def make_cell(dimensions: Sequence[Dimension], values: Mapping[str, Any]) -> Cell:
    """The folder name and the flags of a trial."""
    return make_cells({item.name: [_as_word(values[item.name])] for item in dimensions})[0]


def _as_word(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def list_corners(dimensions: Sequence[Dimension]) -> list[Cell]:
    """What the command's parser is asked before the first trial: bounds and choices in every combination, up to a number."""
    names, values = [item.name for item in dimensions], [list(dict.fromkeys(item.values)) for item in dimensions]
    return [make_cell(dimensions, dict(zip(names, point, strict=True))) for point in _combine(values)]


def _combine(values: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Every combination where there are few, else each value once beside the first of the others."""
    total = 1
    for choices in values:
        total *= len(choices)
    if total <= CORNERS:
        return list(product(*values))
    first = [choices[0] for choices in values]
    return [(*first[:i], value, *first[i + 1 :]) for i, choices in enumerate(values) for value in choices]


def require_trainer(parser: CommandParser, command: str) -> None:
    """Only what trains by the Trainer reports its evaluations.

    Raises:
        UsageError: the command does not.
    """
    problems = ProblemList()
    if "do_optimize" in parser.fields:
        problems.append(Problem(f"{command} searches by itself", remedy=f"give {command} --do_optimize"))
    elif not parser.has_training:
        problems.append(Problem(f"{command} trains no model by steps", remedy="search a command that trains"))
    problems.raise_any(UsageError)
