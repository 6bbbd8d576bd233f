"""`--params` -> the dimensions that a search suggests values in, and suggested values -> arguments of a training.

Names are those of the arguments: `epochs`; keys of the optimizer: `lr`; keywords of a loss: `train_KLBaselineLoss_scaleby`,
with `_0`, `_1` for one data set each; or a path of keys: `--params.data_preprocessing_fn_kwargs.train.mask_prop.values`.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from finetune.arguments.fields import Field, fields_of
from finetune.arguments.nearest import allowed_values
from finetune.arguments.parser import Arguments
from finetune.errors import Problem, ProblemList, UsageError
from finetune.lm_experiments.arguments import (
    BASELINE_KEYWORDS,
    BASELINE_LOSS,
    ExperimentArguments,
    ExperimentTextArguments,
)
from finetune.search.arguments import OptimizationArguments

GROUPS = (ExperimentTextArguments, ExperimentArguments)
TYPES = ("float", "int", "categorical")
KEYS = ("values", "type", "suggest_kwargs")
BASELINE_DEFAULTS: dict[str, Any] = {"scaleby": 2.5, "n_examples_per_batch": 20, "batch_size": 32}
OPTIMIZER_KEYWORDS = "train_optimizer_kwargs"
LOSS_KEYWORDS = "loss_classes_kwargs"
JUDGED_BY = ("validation", "eval", "test", "predict")  # what trials are compared by must be the same for all
SCALARS = (str, int, float, bool, type(None))

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter: its name in the study, where its value belongs, and what it may be.

    `values` are the bounds of a number, else all choices. `path` begins with the name of an argument.
    """

    name: str
    path: Place
    kind: str
    values: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def suggest(self, trial: Any) -> Any:
        """A value for this dimension from an Optuna trial."""
        if self.kind == "categorical":
            return self.value_of(trial.suggest_categorical(self.name, self.choices))
        suggest = trial.suggest_int if self.kind == "int" else trial.suggest_float
        return suggest(self.name, self.values[0], self.values[1], **self.options)

    def value_of(self, stored: Any) -> Any:
        """The value that a study calls `stored`."""
        return self._choices[stored] if self.kind == "categorical" else stored

    @property
    def choices(self) -> list[Any]:
        """What a study calls the choices: themselves, lists and dictionaries as JSON."""
        return list(self._choices)

    @property
    def _choices(self) -> dict[Any, Any]:
        return {value if isinstance(value, SCALARS) else json.dumps(value): value for value in self.values}


@dataclass(frozen=True)
class Target:
    """What a name in `--params` means: one place, or one per data set, and the value that is there now."""

    places: dict[str, Place]  # name in the study -> path
    value: Any
    declared: Field | None = None  # of the argument itself, where the path is no longer than that


def check_search(arguments: Arguments) -> list[Problem]:
    """The problems of `--params` beside the other arguments, as a check of the parser."""
    options = arguments[OptimizationArguments]
    if not options.do_optimize:
        return []
    problems = ProblemList()
    problems.attempt(build_search_space, options.params, [arguments[group] for group in GROUPS])
    if arguments[ExperimentTextArguments].train_file is None:
        problems.append(Problem("--do_optimize needs --train_file and --validation_file"))
    if arguments.get("save_minutes") is not None:
        found = "--save_minutes is not for --do_optimize: a trial keeps no checkpoints, a search goes on with the next"
        problems.append(Problem(found, remedy="drop it"))
    return problems


def build_search_space(params: Mapping[str, Any], groups: Sequence[Any]) -> list[Dimension]:
    """The dimensions that `--params` asks for, given the groups that they are to change.

    Raises:
        UsageError: with every problem: unknown names, bounds that are none, what trials are judged by.
    """
    return build_dimensions(params, lambda name: _find(name, groups))


def build_dimensions(params: Mapping[str, Any], find: Callable[[str], Target]) -> list[Dimension]:
    """The dimensions that `--params` asks for; `find` says what a name means, or raises UsageError.

    Raises:
        UsageError: with every problem.
    """
    problems, dimensions = ProblemList(), []
    for name, entry in _entries(params, problems):
        found = problems.attempt(_build, name, entry, find)
        dimensions.extend(found or [])
    places = [dimension.path for dimension in dimensions]
    for dimension in dimensions:
        if places.count(dimension.path) > 1:
            problems.append(Problem(f"--params names {dimension.name} more than once", remedy="keep one of them"))
    if not (dimensions or problems):
        problems.append(Problem("--params names nothing to search", remedy="give --params.lr.values 1e-6 1e-4"))
    problems.raise_any(UsageError)
    return dimensions


def apply_values(groups: Sequence[Any], dimensions: Sequence[Dimension], values: Mapping[str, Any]) -> list[Any]:
    """Copies of the groups with the values (by name of their dimension) in their places."""
    changed = {name: copy.deepcopy(value) for group in groups for name, value in vars(group).items()}
    for dimension in dimensions:
        _put(changed, dimension.path, values[dimension.name])
    names = [[item.name for item in dataclasses.fields(group)] for group in groups]
    return [
        dataclasses.replace(group, **{name: changed[name] for name in own})
        for group, own in zip(groups, names, strict=True)
    ]


def _put(tree: Any, path: Place, value: object) -> None:
    for key, following in pairwise(path):
        if isinstance(tree, dict) and not isinstance(tree.get(key), dict | list):
            tree[key] = {} if isinstance(following, str) else []
        tree = tree[key]
    tree[path[-1]] = value


def _entries(params: Mapping[str, Any], problems: ProblemList, above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name -> the dictionary that holds `values`; keys above it are a path."""
    for key, entry in params.items():
        name = f"{above}{key}"
        if not isinstance(entry, Mapping):
            problems.append(Problem(f"--params.{name} is {entry!r}", f"give --params.{name}.values"))
        elif (
            "values" in entry or not any(isinstance(item, Mapping) for item in entry.values()) or set(entry) & {"type"}
        ):
            yield name, entry
        elif set(entry) <= {"suggest_kwargs"}:
            problems.append(Problem(f"--params.{name} has no values", f"give --params.{name}.values"))
        else:
            yield from _entries(entry, problems, f"{name}.")


def _build(name: str, entry: Mapping[str, Any], find: Callable[[str], Target]) -> list[Dimension]:
    problems = ProblemList()
    target = problems.attempt(find, name)
    problems += [
        Problem(f"--params.{name} has no key {key!r}", allowed_values(key, KEYS)) for key in entry if key not in KEYS
    ]
    if not entry.get("values") and entry.get("values") != 0:
        problems.append(Problem(f"--params.{name} has no values", f"give --params.{name}.values"))
    problems.raise_any(UsageError)
    assert target is not None
    values = entry["values"] if isinstance(entry["values"], list) else [entry["values"]]
    kind = _kind(name, entry.get("type"), target, values)
    options = dict(entry.get("suggest_kwargs") or {})
    _require_values(name, kind, values, options, target)
    bounds = tuple(sorted(values)) if kind != "categorical" else tuple(values)
    return [Dimension(own, path, kind, bounds, options) for own, path in target.places.items()]


def _kind(name: str, typed: Any, target: Target, values: Sequence[Any]) -> str:
    """As the value is now, unless a type is given; numbers only for what is a number."""
    if typed is not None and typed not in TYPES:
        raise UsageError(Problem(f"--params.{name}.type is {typed!r}", allowed_values(str(typed), TYPES)))
    natural = _natural_kind(target, values)
    if typed in ("int", "float") and natural == "categorical":
        found = f"--params.{name}.type is {typed}, but {name} is no number"
        raise UsageError(Problem(found, "it can be searched among the values given, without a type"))
    return typed or natural


def _natural_kind(target: Target, values: Sequence[Any]) -> str:
    sample = target.value[0] if isinstance(target.value, list) and target.value else target.value
    if sample is None:
        sample = _sample(target.declared, values)
    if isinstance(sample, bool) or not isinstance(sample, int | float):
        return "categorical"
    return "int" if isinstance(sample, int) else "float"


def _sample(declared: Field | None, values: Sequence[Any]) -> Any:
    """A value of the type that is meant where nothing is set now."""
    if declared is not None:
        return next(({"int": 0, "float": 0.0}[kind] for kind in declared.kinds if kind in ("int", "float")), None)
    numbers = all(isinstance(item, int | float) and not isinstance(item, bool) for item in values)
    return next((item for item in values if isinstance(item, float)), values[0]) if numbers else None


def _require_values(name: str, kind: str, values: Sequence[Any], options: Mapping[str, Any], target: Target) -> None:
    flag = f"--params.{name}"
    known = () if kind == "categorical" else ("log", "step")
    problems = ProblemList(
        Problem(f"{flag}.suggest_kwargs has no key {key!r}", f"allowed: {', '.join(known) or 'none for choices'}")
        for key in options
        if key not in known
    )
    if kind == "categorical":
        problems.raise_any(UsageError)
        return
    shown = " ".join(map(str, values))
    if len(values) != 2 or any(isinstance(item, bool) or not isinstance(item, int | float) for item in values):
        remedy = f"{flag}.type categorical chooses among several values"
        raise UsageError(Problem(f"{flag}.values is {shown}", "a lower and an upper bound", remedy), *problems)
    low, high = sorted(values)
    if kind == "int" and (low != int(low) or high != int(high)):
        problems.append(Problem(f"{flag}.values is {shown}", "whole numbers", f"{flag}.type float takes others"))
    if not all(abs(bound) < float("inf") for bound in (low, high)):
        problems.append(Problem(f"{flag}.values is {shown}", "finite numbers"))
    if options.get("log") and low <= 0:
        problems.append(Problem(f"{flag}.suggest_kwargs.log, but the lower bound is {low}", "it must be above 0"))
    if options.get("log") and options.get("step") not in (None, 1):
        problems.append(Problem(f"{flag}.suggest_kwargs: log and step contradict each other", remedy="keep one"))
    if target.declared and target.declared.minimum is not None and low < target.declared.minimum:
        problems.append(Problem(f"{flag}.values is {shown}", f"{name} must be at least {target.declared.minimum:g}"))
    problems.raise_any(UsageError)


def _find(name: str, groups: Sequence[Any]) -> Target:
    declared = {item.name: item for group in groups for item in fields_of(type(group))}
    values = {key: value for group in groups for key, value in vars(group).items()}
    known = {**{key: _own(key, values[key], declared[key]) for key in declared}, **_keywords(values, groups)}
    target = known.get(name) or _at_path(name, values)
    if target is None:
        raise UsageError(Problem(f"--params.{name} is no argument of texts or training", allowed_values(name, known)))
    for path in target.places.values():
        require_place(name, path)
    return target


def _own(name: str, value: object, declared: Field) -> Target:
    return Target({name: (name,)}, value, declared)


def _keywords(values: Mapping[str, Any], groups: Sequence[Any]) -> dict[str, Target]:
    """Short names: keys of the optimizer, and SPLIT_LOSS_KEY of the losses."""
    found = {key: Target({key: (OPTIMIZER_KEYWORDS, key)}, value) for key, value in values[OPTIMIZER_KEYWORDS].items()}
    experiment = next(group for group in groups if isinstance(group, ExperimentArguments))
    for split in ("train", "validation"):
        for full_name, given in experiment.losses(split).items():
            loss = full_name.rpartition(".")[2]
            known = {**(BASELINE_DEFAULTS if loss == BASELINE_LOSS else {}), **given}
            extra = dict.fromkeys(key for key in BASELINE_KEYWORDS if loss == BASELINE_LOSS and key not in known)
            for key, value in {**extra, **known}.items():
                found |= _keyword(f"{split}_{loss}_{key}", (LOSS_KEYWORDS, split, loss, key), value)
    return found


def _keyword(name: str, path: Place, value: object) -> dict[str, Target]:
    """A keyword of a loss; where it has one value per data set, also each of them."""
    if not isinstance(value, list) or path[-1] == "dataset":
        return {name: Target({name: path}, value)}
    each = {f"{name}_{number}": (*path, number) for number in range(len(value))}
    return {name: Target(each, value), **{own: Target({own: place}, value) for own, place in each.items()}}


def _at_path(name: str, values: Mapping[str, Any]) -> Target | None:
    """`data_preprocessing_fn_kwargs.train.mask_prop`: a key, there or not yet, of a dictionary argument."""
    keys: Place = tuple(name.split("."))
    if len(keys) < 2 or not isinstance(values.get(str(keys[0])), dict):
        return None
    value: Any = values
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return Target({name: keys}, value)


def require_place(name: str, path: Place) -> None:
    """What trials are judged by cannot be searched.

    Raises:
        UsageError: the place is of validation or tests.
    """
    parts = [part for key in path for part in str(key).split("_")]
    if any(part in JUDGED_BY for part in parts):
        found = f"--params.{name} would change what trials are judged by"
        raise UsageError(Problem(found, "only what belongs to training can be searched"))
