"""Arguments of a search over hyperparameters by Optuna: what is searched, how, for how long, and where it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from finetune.arguments.fields import argument
from finetune.arguments.nearest import allowed_values
from finetune.errors import Problem
from finetune.lm_experiments.arguments import OPTIMIZER, PREPROCESSING, REDUCTION, check_keys
from finetune.lm_experiments.object_names import ObjectKind


def _of(module: str, names: str) -> tuple[str, ...]:
    return tuple(f"{module}.{name}" for name in names.split())


SAMPLER = ObjectKind(
    "a sampler",
    ("optuna.samplers",),
    _of(
        "optuna.samplers",
        "GPSampler TPESampler RandomSampler CmaEsSampler QMCSampler GridSampler BruteForceSampler PartialFixedSampler "
        "NSGAIISampler NSGAIIISampler",
    ),
    base="optuna.samplers.BaseSampler",
)
PRUNER = ObjectKind(
    "a pruner",
    ("optuna.pruners",),
    _of(
        "optuna.pruners",
        "PatientPruner WilcoxonPruner MedianPruner PercentilePruner SuccessiveHalvingPruner HyperbandPruner "
        "ThresholdPruner NopPruner",
    ),
    base="optuna.pruners.BasePruner",
)
STUDY_OBJECTS: dict[str, ObjectKind] = {
    "study_kwargs.sampler": SAMPLER,
    "study_kwargs.sampler_kwargs.independent_sampler": SAMPLER,
    "study_kwargs.sampler_kwargs.base_sampler": SAMPLER,
    "study_kwargs.pruner": PRUNER,
    "study_kwargs.pruner_kwargs.wrapped_pruner": PRUNER,
}
STUDY_DEFAULTS: dict[str, Any] = {
    "study_name": None,
    "sampler": "optuna.samplers.GPSampler",
    "sampler_kwargs": {"deterministic_objective": True},
    "pruner": "optuna.pruners.PatientPruner",
    "pruner_kwargs": {
        "wrapped_pruner": "optuna.pruners.WilcoxonPruner",
        "wrapped_pruner_kwargs": {"p_threshold": 0.1, "n_startup_steps": 100},
        "patience": 30,
        "min_delta": 0.0,
    },
    "direction": "minimize",
    "storage": None,
    "storage_kwargs": {},
    "load_if_exists": True,
}
TRIALS_WITHOUT_TOTAL = 2  # the document's n_trials
OPTIMIZE_DEFAULTS: dict[str, Any] = {
    "n_trials": None,
    "timeout": None,
    "gc_after_trial": True,
    "show_progress_bar": False,
}
PARAMS_DEFAULT: dict[str, Any] = {"lr": {"values": [2e-6, 2e-5], "suggest_kwargs": {}}}


@dataclass
class OptimizationArguments:
    """Search over hyperparameters (Optuna)."""

    LOGGED_AS: ClassVar[str] = "Optimization args"
    OBJECTS: ClassVar[dict[str, ObjectKind]] = {
        **STUDY_OBJECTS,
        "params.train_optimizer.values": OPTIMIZER,
        "params.loss_reduction_fns.train.values": REDUCTION,
        "params.data_preprocessing_fn.train.values": PREPROCESSING,
    }

    do_optimize: bool = argument(False, help="search over --params instead of training once; test files are not read")
    max_trials: int | None = argument(
        None, minimum=1, help="finished trials of the study in all, over every process and every start"
    )
    study_kwargs: dict = argument(STUDY_DEFAULTS, help="name, sampler, pruner and storage of the study")
    optimize_kwargs: dict = argument(
        OPTIMIZE_DEFAULTS,
        help=f"n_trials: trials of this output folder ({TRIALS_WITHOUT_TOTAL} without --max_trials); timeout: seconds "
        "after which no trial begins",
    )
    params: dict = argument(
        PARAMS_DEFAULT,
        help="what is searched: NAME.values LOW HIGH, or NAME.values A B C; NAME.suggest_kwargs.log; NAME.type",
    )

    @property
    def trials_here(self) -> int | None:
        """Trials that this output folder may run, None where only the total counts."""
        asked = self.optimize_kwargs.get("n_trials")
        return TRIALS_WITHOUT_TOTAL if asked is None and self.max_trials is None else asked

    def why_one_process(self) -> str | None:
        """What keeps a search from working in several processes."""
        if not self.do_optimize:
            return None
        return (
            "--do_optimize trains each trial in one process; to use several, start it as often on one "
            "--study_kwargs.storage, each in its own --output_dir"
        )

    def problems(self) -> list[Problem]:
        if not self.do_optimize:
            return []
        return [*self._study_problems(), *self._optimize_problems()]

    def _study_problems(self) -> list[Problem]:
        given = self.study_kwargs
        problems = check_keys("study_kwargs", given, STUDY_DEFAULTS)
        if given.get("direction", "minimize") != "minimize":
            found = f"--study_kwargs.direction is {given['direction']!r}"
            problems.append(Problem(found, "trials are judged by their validation loss, which is minimized"))
        return [*problems, *check_study(given)]

    def _optimize_problems(self) -> list[Problem]:
        return check_optimization(self.optimize_kwargs)


def check_study(given: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the keywords of a study, whatever it searches."""
    problems = []
    if given.get("load_if_exists", True) is not True:
        problems.append(Problem("--study_kwargs.load_if_exists is off", "a study is always gone on with"))
    for name in ("sampler_kwargs", "pruner_kwargs", "storage_kwargs"):
        if not isinstance(given.get(name, {}), Mapping):
            problems.append(Problem(f"--study_kwargs.{name} is {given[name]!r}", "it takes keywords"))
    return problems


def check_optimization(given: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the bounds of a search."""
    problems = []
    if given.get("n_jobs", 1) != 1:
        remedy = "start this command several times on the same --study_kwargs.storage, each in its own --output_dir"
        problems.append(Problem("--optimize_kwargs.n_jobs: a process trains one model at a time", remedy=remedy))
    known = [*OPTIMIZE_DEFAULTS, "n_jobs"]
    for key in given:
        if key not in known:
            problems.append(Problem(f"--optimize_kwargs has no key {key!r}", allowed_values(key, known)))
    for key, least in (("n_trials", 1), ("timeout", 0)):
        value = given.get(key)
        if value is not None and not (isinstance(value, int | float) and value >= least):
            problems.append(Problem(f"--optimize_kwargs.{key} is {value!r}", f"a number, at least {least}"))
    return problems
