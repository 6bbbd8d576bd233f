"""A search over hyperparameters: a study is begun or joined, trials are trained until there are enough, all is written."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from finetune.arguments.parser import Arguments
from finetune.arguments.run import RunArguments
from finetune.errors import Problem, RunError, UsageError
from finetune.lm_experiments.arguments import ExperimentArguments, ExperimentModelArguments, ExperimentTextArguments
from finetune.lm_experiments.result_arguments import ExperimentResultArguments
from finetune.lm_experiments.settings import ExperimentSettings
from finetune.lm_experiments.task import CONFIG, input_files, resolve, tell_device
from finetune.lm_experiments.training import resolve_task
from finetune.report.files import write_metrics, write_text
from finetune.run.comparing import NOT_COMPARED, fingerprint
from finetune.run.folder import Run
from finetune.run.launcher import count_processes
from finetune.run.progress import Progress
from finetune.search.arguments import OptimizationArguments
from finetune.search.importance import IMPORTANCES, write_importances
from finetune.search.points import describe_points
from finetune.search.pruning import TextwisePruner, describe_pruner, find_best, patience_of
from finetune.search.report import PLOTS, RESULTS, write_optimization_plots, write_optimization_results
from finetune.search.slots import Slots
from finetune.search.space import Dimension, build_search_space
from finetune.search.storage import holds_password, open_storage, quiet_optuna
from finetune.search.study import SamplerMaker, build_pruner, name_study, open_study, seed_of
from finetune.search.trials import TextLosses, Trials, describe_values, find_folder
from finetune.search.turns import SURPLUS

logger = logging.getLogger(__name__)

BEST_CONFIG = "best_trial.yaml"
SHARED_GROUPS = (ExperimentModelArguments, ExperimentTextArguments, ExperimentArguments)
# Arguments of those groups that do not change what a trial comes to.
OF_NO_INFLUENCE = NOT_COMPARED | {
    *("train_file", "validation_file", "test_file", "max_test_samples", "per_device_test_batch_size", "seed"),
    *("use_gpu", "allow_import", "token"),
}


@dataclass
class SearchSetup:
    """What a search is, before anything is written: judged arguments, dimensions, sampler and pruner."""

    arguments: Arguments
    options: OptimizationArguments
    settings: ExperimentSettings
    dimensions: list[Dimension]
    name: str
    make_sampler: SamplerMaker
    losses: TextLosses
    pruner: Any


def run_search(arguments: Arguments, run: Run) -> dict[str, Any]:
    """Search until the study or this folder has its trials; returns what the last line says.

    Raises:
        DataError, UsageError: with every problem, before anything is written.
        Preempted: a signal asked to stop; the same command goes on.
    """
    setup = build_setup(arguments, run)
    tell_device(setup.settings)
    counts = {split: len(texts) for split, texts in resolve_task(setup.settings).texts.items()}
    if arguments[RunArguments].dry_run:
        return {
            "dry_run": True,
            "texts": counts,
            "study": setup.name,
            "searched": [item.name for item in setup.dimensions],
        }
    folder = run.folder
    if folder is None:
        raise UsageError(Problem("--output_dir is missing", remedy="name the folder for the results"))
    run.start()
    run.record_inputs(input_files(setup.settings, []))
    run.record(study=setup.name, study_seed=setup.settings.seed)
    trials = open_trials(setup, run, folder)
    describe_search(setup)
    run_trials(trials, setup.options)
    return write_search(setup, trials, folder)


def build_setup(arguments: Arguments, run: Run) -> SearchSetup:
    """Check and build what needs no folder.

    Raises:
        UsageError: with every problem of the search.
    """
    quiet_optuna()
    if count_processes() > 1:
        remedy = "start single processes on the same --study_kwargs.storage, each in its own --output_dir"
        raise UsageError(Problem("--do_optimize is started by a launcher of several processes", remedy=remedy))
    options, losses = arguments[OptimizationArguments], TextLosses()
    dimensions = build_search_space(
        options.params, [arguments[ExperimentTextArguments], arguments[ExperimentArguments]]
    )
    name = options.study_kwargs.get("study_name") or name_study(options.params, dimensions)
    experiment = arguments[ExperimentArguments]
    if experiment.seed is None:
        experiment = replace(experiment, seed=seed_of(str(name)))
        logger.info("No --seed was given; all trials of the study %s use %d.", name, experiment.seed)
        arguments = with_groups(arguments, experiment)
    settings = resolve(arguments, run)
    allow = settings.model.allow_import
    make_sampler = SamplerMaker(options.study_kwargs, dimensions, settings.seed, allow)
    pruner = build_pruner(
        options.study_kwargs, lambda test: TextwisePruner(test, lambda: losses.current, losses.of_trial), allow
    )
    return SearchSetup(arguments, options, settings, dimensions, str(name), make_sampler, losses, pruner)


def with_groups(arguments: Arguments, *changed: Any) -> Arguments:
    """The same arguments with some of the groups replaced."""
    groups = {
        kind: next((group for group in changed if isinstance(found, type(group))), found)
        for kind, found in arguments.groups.items()
    }
    return replace(arguments, groups=groups)


def open_trials(setup: SearchSetup, run: Run, folder: Path) -> Trials:
    """Begin the study or join it.

    Raises:
        UsageError: the study of that name is of another setting; the storage is none.
    """
    storage = open_storage(setup.options.study_kwargs, folder)
    study = open_study(storage, setup.name, shared_setting(setup), setup.make_sampler(0), setup.pruner)
    slots = Slots(
        study,
        total=setup.options.max_trials,
        here=trials_here(setup),
        folder=folder,
        stop=run.stop,
        points=setup.make_sampler.points,
    )
    garbage = bool(setup.options.optimize_kwargs.get("gc_after_trial", True))
    trials = Trials(
        study, slots, setup.settings, setup.dimensions, setup.make_sampler, setup.losses, run, folder, garbage
    )
    trials.drop_models()
    return trials


def trials_here(setup: SearchSetup) -> int | None:
    """Trials of this output folder, None without a bound; points are visited in full unless a number was given."""
    asked = setup.options.optimize_kwargs.get("n_trials")
    return asked if setup.make_sampler.points is not None else setup.options.trials_here


def shared_setting(setup: SearchSetup) -> dict[str, Any]:
    """What all trials of a study must have in common to be compared: arguments, seed, contents of the files."""
    values = setup.arguments.effective()
    names = [item.name for group in SHARED_GROUPS for item in fields(group) if item.name not in OF_NO_INFLUENCE]
    files = [fingerprint(path)["sha256"] for path in input_files(setup.settings, [])]
    setting = {name: values.get(name) for name in names}
    return {**setting, "seed": setup.settings.seed, "params": setup.options.params, "sha256 of input files": files}


def describe_search(setup: SearchSetup) -> None:
    """What is searched how, in the log."""
    options = setup.options
    points, bound = setup.make_sampler.points, trials_here(setup)
    here = f"{bound} in this folder" if bound else "as many as needed here"
    total = options.max_trials or ("any number of" if points is None else len(points))
    logger.info(
        "Study %s: %s trials in all, %s; %s.",
        *(setup.name, total, here, ", ".join(item.name for item in setup.dimensions)),
    )
    visits = "" if points is None else f", {len(points)} points: {describe_points(points)}"
    logger.info("Sampler: %s%s. Pruning: %s.", setup.make_sampler.name, visits, describe_pruner(setup.pruner))
    experiment = setup.settings.experiment
    waits = patience_of(setup.pruner)
    if experiment.patience and waits is not None and max(experiment.patience, experiment.min_epochs) <= waits:
        logger.warning(
            "Nothing will be pruned: the pruner waits for %d epochs without improvement, and training stops by itself "
            "after --patience %d. --study_kwargs.pruner_kwargs.patience sets the first.",
            *(waits, experiment.patience),
        )
    if setup.settings.results.evaluate or setup.settings.texts.test_file:
        logger.info("Tests and evaluations wait for the training with the values that are found.")
    if holds_password(options.study_kwargs):
        logger.warning("The database URL holds a password, which is written to run.json; env:NAME reads it from $NAME.")


def run_trials(trials: Trials, options: OptimizationArguments) -> None:
    """Train trials until there are enough, or until `timeout` seconds are over."""
    total = trials.slots.here or options.max_trials
    shown = bool(options.optimize_kwargs.get("show_progress_bar"))
    with Progress("Trials", total=total, unit="trial") if shown else nullcontext() as bar:
        for trial in within_bounds(trials.slots, options.optimize_kwargs):
            try:
                trials.run_trial(trial)
            finally:
                write_optimization_results(trials.folder / RESULTS, list_finished(trials.study))
            if bar is not None:
                bar.advance()


def within_bounds(slots: Slots, optimize_kwargs: Mapping[str, Any]) -> Iterator[Trial]:
    """The trials of this process, until there are enough, or until `timeout` seconds are over."""
    timeout = optimize_kwargs.get("timeout")
    end = None if timeout is None else time.monotonic() + timeout
    while end is None or time.monotonic() < end:
        trial = slots.claim()
        if trial is None:
            return
        yield trial


def list_finished(study: Study) -> list[FrozenTrial]:
    """All trials of the study, but for numbers that were given back unused."""
    return [trial for trial in study.get_trials(deepcopy=False) if SURPLUS not in trial.user_attrs]


def write_search(setup: SearchSetup, trials: Trials, folder: Path) -> dict[str, Any]:
    """Table, plots, the options tried, and the arguments of the best trial; returns what the last line says."""
    trials.drop_models()  # others may have overtaken the best of this folder meanwhile
    found, best = list_finished(trials.study), find_best(trials.study)
    write_optimization_results(folder / RESULTS, found)
    for reason in write_optimization_plots(folder / PLOTS, trials.study):
        logger.info("%s: a page is left out: %s.", PLOTS, reason)
    write_importances(folder / IMPORTANCES, trials.study, seed=int(setup.settings.seed))
    write_text(folder / CONFIG, describe_trials(setup, found))
    states = Counter(trial.state.name.lower() for trial in found)
    facts: dict[str, Any] = {"study": setup.name, "seed": setup.settings.seed, "trials": dict(sorted(states.items()))}
    if best is None:
        came_to = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none was begun"
        remedy = "loosen --pruner or the ranges of the hyperparameters, or raise the number of trials, and run it again"
        raise RunError(f"no trial of the study {setup.name!r} is complete ({came_to}), so nothing was found; {remedy}")
    facts |= write_best(setup, trials, best, folder)
    write_metrics(folder, {"validation": {"validation_loss": best.value, "trial": best.number}})
    return facts


def describe_trials(setup: SearchSetup, found: Sequence[FrozenTrial]) -> str:
    """`config.txt`: the arguments, then the values of each trial with what they came to."""
    lines = []
    for trial in found:
        loss = f", validation loss {trial.values[0]:.6g}" if trial.values else ""
        lines.append(f"# trial {trial.number}: {describe_values(trial.params)}: {trial.state.name.lower()}{loss}")
    return "\n".join([setup.arguments.as_yaml().rstrip("\n"), "", *lines, ""])


def write_best(setup: SearchSetup, trials: Trials, best: FrozenTrial, folder: Path) -> dict[str, Any]:
    """`best_trial.yaml` trains the best trial again, tests included; its model, where it is kept."""
    values, model = trials.values_of(best), find_folder(best)
    settings = trials.settings_of(values)
    once = replace(setup.options, do_optimize=False)
    results: ExperimentResultArguments = replace(settings.results, output_dir=None)
    experiment = replace(settings.experiment, seed=settings.seed)
    arguments = with_groups(setup.arguments, settings.texts, experiment, results, once)
    write_text(folder / BEST_CONFIG, f"# trial {best.number}, validation loss {best.value:.10g}\n{arguments.as_yaml()}")
    logger.info(
        "Best: trial %d, validation loss %.6g, %s. Its model is in %s; --config_file %s trains it again.",
        *(best.number, best.value, describe_values(values), model, folder / BEST_CONFIG),
    )
    kept = str(model) if model.is_dir() else None
    return {"best_trial": best.number, "validation_loss": best.value, "best_params": values, "model": kept}
