"""The study of a search: its sampler and its pruner from their names and keywords, and what it may be joined by."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.pruners import BasePruner, NopPruner, PatientPruner, WilcoxonPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.study import Study

from finetune.arguments.nearest import allowed_values
from finetune.errors import Problem, UsageError
from finetune.lm_experiments.object_names import ObjectKind, find_object
from finetune.run.comparing import argument_differences
from finetune.run.manifest import plain
from finetune.search.arguments import PRUNER, SAMPLER, STUDY_DEFAULTS
from finetune.search.points import EXHAUSTIVE, Points, build_points
from finetune.search.space import Dimension

logger = logging.getLogger(__name__)

SETTING = "finetune_setting"  # attribute of a study: the arguments that its trials share
ONE_SEED = (QMCSampler,)  # all trials share a seed: its points are one sequence
NEEDED_PACKAGES = {CmaEsSampler: ("cmaes",), GPSampler: ("scipy", "torch")}
NAME_LENGTH = 200


def name_study(params: Mapping[str, Any], dimensions: Sequence[Dimension]) -> str:
    """`objective_minimize_loss-lr_2e-06_2e-05`, as the documented default; a digest where that is too long."""
    parts = ["_".join([item.name, *map(str, item.values)]) for item in dimensions]
    name = "-".join(["objective_minimize_loss", *parts])
    digest = hashlib.sha256(repr((sorted(params), name)).encode()).hexdigest()[:8]
    return name if len(name) <= NAME_LENGTH else f"{name[:NAME_LENGTH]}-{digest}"


def open_study(
    storage: BaseStorage,
    name: str,
    setting: Mapping[str, Any],
    sampler: BaseSampler,
    pruner: BasePruner,
    direction: Literal["minimize", "maximize"] = "minimize",
) -> Study:
    """Begin a study or join it; `setting` are the arguments that its trials share.

    Raises:
        UsageError: there is a study of that name whose trials were trained with other arguments, with the differences.
    """
    study = optuna.create_study(
        storage=storage, study_name=name, direction=direction, load_if_exists=True, sampler=sampler, pruner=pruner
    )
    study._thread_local.in_optimize_loop = True  # samplers that come to an end may say so: `is_exhausted` listens
    before = study.user_attrs.get(SETTING)
    if before is None:
        study.set_user_attr(SETTING, plain(setting))
    elif differences := argument_differences(before, setting, setting):
        remedy = "choose another --study_kwargs.study_name"
        found = f"the study {name!r} holds trials of another setting, which cannot be compared with these"
        raise UsageError(Problem(found, remedy=remedy), *(Problem(difference) for difference in differences))
    return study


def is_exhausted(study: Study) -> bool:
    """Whether the sampler said that it has nothing new to try."""
    return bool(getattr(study, "_stop_flag", False))


def seed_of(name: str) -> int:
    """The seed of a study for which none was given: all its processes know it without asking each other."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


class SamplerMaker:
    """Makes the sampler of each trial: the same arguments, seed and trials before give the same values.

    One sampler for a whole process would draw what depends on how often the process was started, and two processes
    with the same seed would draw the same.

    Raises:
        UsageError: the class has no such keywords, a needed package is missing.
    """

    def __init__(
        self, study_kwargs: Mapping[str, Any], dimensions: Sequence[Dimension], seed: int, allow: Sequence[str] = ()
    ) -> None:
        self.seed, self.allow = seed, allow
        name = study_kwargs.get("sampler")
        self.kind = find_object(name, SAMPLER, "--study_kwargs.sampler", allow)[1] if name else TPESampler
        keywords = dict(study_kwargs.get("sampler_kwargs") or {}) if name else {}
        _require_packages(self.kind)
        self.name = self.kind.__name__
        self.keywords = _fit_keywords(self.kind, keywords, "sampler_kwargs", allow)
        self.points: Points | None = None  # what is tried, each once, where that does not depend on trials before
        if self.kind in EXHAUSTIVE:
            self.points = build_points(self.kind, self.keywords, dimensions, seed)
            self.kind, self.keywords = RandomSampler, {}  # never asked
        self(0)

    def __call__(self, number: int) -> BaseSampler:
        """The sampler for trial `number`."""
        keywords = dict(self.keywords)
        if "seed" in inspect.signature(self.kind).parameters and "seed" not in keywords:
            keywords["seed"] = self.seed % 2**32 if self.kind in ONE_SEED else _mix(self.seed, number)
        try:
            return self.kind(**keywords)
        except (TypeError, ValueError, ImportError) as error:
            found = f"--study_kwargs.sampler {self.kind.__name__} cannot be made: {str(error).splitlines()[0]}"
            raise UsageError(Problem(found, remedy="see --study_kwargs.sampler_kwargs")) from error


def _require_packages(kind: type[BaseSampler]) -> None:
    """Samplers that import a package at their first draw would fail in the middle of the search."""
    missing = [name for name in NEEDED_PACKAGES.get(kind, ()) if importlib.util.find_spec(name) is None]
    if missing:
        found = (
            f"--study_kwargs.sampler {kind.__name__} needs the package {' and '.join(missing)}, which is not installed"
        )
        raise UsageError(Problem(found, remedy=f"pip install {' '.join(missing)}, or choose another sampler"))


def _mix(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:4], "little")


def build_pruner(
    study_kwargs: Mapping[str, Any], textwise: Callable[[WilcoxonPruner], BasePruner], allow: Sequence[str] = ()
) -> BasePruner:
    """The pruner of a study; each WilcoxonPruner in it goes through `textwise`.

    Raises:
        UsageError: the class has no such keywords, or refuses their values.
    """
    name = study_kwargs.get("pruner")
    if not name:
        return NopPruner()
    return _build_pruner(name, dict(study_kwargs.get("pruner_kwargs") or {}), "pruner", textwise, allow)


def _build_pruner(
    name: str,
    keywords: dict[str, Any],
    flag: str,
    textwise: Callable[[WilcoxonPruner], BasePruner],
    allow: Sequence[str],
) -> BasePruner:
    kind = find_object(name, PRUNER, f"--study_kwargs.{flag}", allow)[1]
    inner, inner_keywords = keywords.pop("wrapped_pruner", None), keywords.pop("wrapped_pruner_kwargs", None) or {}
    keywords = _fit_keywords(kind, keywords, f"{flag}_kwargs", allow)
    if kind is PatientPruner:
        below = f"{flag}_kwargs.wrapped_pruner"
        keywords["wrapped_pruner"] = (
            _build_pruner(inner, dict(inner_keywords), below, textwise, allow) if inner else None
        )
    made = _make(kind, keywords, flag)
    return textwise(made) if isinstance(made, WilcoxonPruner) else made


def _make(kind: type, keywords: Mapping[str, Any], flag: str) -> Any:
    try:
        return kind(**keywords)
    except (TypeError, ValueError) as error:
        found = f"--study_kwargs.{flag} {kind.__name__} cannot be made: {str(error).splitlines()[0]}"
        raise UsageError(Problem(found, remedy=f"see --study_kwargs.{flag}_kwargs")) from error


def _fit_keywords(kind: type, keywords: Mapping[str, Any], flag: str, allow: Sequence[str]) -> dict[str, Any]:
    """Keywords that the class takes: defaults of another class are left out, names of samplers become samplers.

    Raises:
        UsageError: keywords that were given and that it does not take.
    """
    known = [name for name in inspect.signature(kind).parameters if name not in ("self", "args", "kwargs")]
    problems, fitting = [], {}
    defaults = {**STUDY_DEFAULTS["sampler_kwargs"], **STUDY_DEFAULTS["pruner_kwargs"]}
    defaults |= STUDY_DEFAULTS["pruner_kwargs"]["wrapped_pruner_kwargs"]
    for key, value in keywords.items():
        if key in known:
            fitting[key] = _sampler_of(key, value, keywords.get(f"{key}_kwargs"), allow)
        elif key.removesuffix("_kwargs") in known or (key in defaults and defaults[key] == value):
            continue
        else:
            found = f"--study_kwargs.{flag}.{key} is no keyword of {kind.__name__}"
            problems.append(Problem(found, allowed_values(key, known)))
    if problems:
        raise UsageError(*problems)
    return fitting


def _sampler_of(key: str, value: object, keywords: Any, allow: Sequence[str]) -> Any:
    """`independent_sampler` and `base_sampler` are made from their names; all else is taken as it is."""
    if key not in ("independent_sampler", "base_sampler") or not isinstance(value, str):
        return value
    kind: ObjectKind = SAMPLER
    found = find_object(value, kind, f"--study_kwargs.sampler_kwargs.{key}", allow)[1]
    return _make(
        found, _fit_keywords(found, keywords or {}, f"sampler_kwargs.{key}_kwargs", allow), f"sampler_kwargs.{key}"
    )
