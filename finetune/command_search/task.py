"""`finetune search`: the trials of a study are runs of a command that trains; the best is trained again, and tested once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.command_search.arguments import CommandSearchArguments
from finetune.command_search.space import build_command_space, list_corners, make_cell, require_trainer
from finetune.command_search.trials import LOGS, CommandTrials, run_command
from finetune.errors import EXIT_DONE, Problem, ProblemList, RunError, UsageError
from finetune.report.files import write_metrics
from finetune.run.comparing import NOT_COMPARED, fingerprint
from finetune.run.folder import Run
from finetune.search.importance import IMPORTANCES, write_importances
from finetune.search.points import describe_points
from finetune.search.pruning import describe_pruner, find_best
from finetune.search.report import PLOTS, RESULTS, Measure, write_optimization_plots, write_optimization_results
from finetune.search.slots import Slots
from finetune.search.space import Dimension
from finetune.search.storage import holds_password, open_storage, quiet_optuna
from finetune.search.study import SamplerMaker, build_pruner, name_study, open_study, seed_of
from finetune.search.task import list_finished, within_bounds
from finetune.search.trials import describe_values
from finetune.sweep.task import SweepRun, load_parser, plan_run, read_last_line

logger = logging.getLogger(__name__)

BEST = "best"
TESTS = "do_predict"
OF_NO_INFLUENCE = NOT_COMPARED | {TESTS, "test_file", "max_test_samples", "max_predict_samples", "hub_token", "token"}


@dataclass
class CommandSearch:
    """What a search is, before anything is written."""

    script: Path
    parser: CommandParser
    options: CommandSearchArguments
    words: list[str]  # of every trial: no tests
    dimensions: list[Dimension]
    name: str
    make_sampler: SamplerMaker
    pruner: BasePruner
    setting: dict[str, Any]

    @property
    def trials_here(self) -> int | None:
        """Trials of this folder, None without a bound; points are visited in full unless a number was given."""
        asked = self.options.optimize_kwargs.get("n_trials")
        return asked if self.make_sampler.points is not None else self.options.trials_here


def run_command_search(script: Path, arguments: Arguments, run: Run) -> dict[str, Any]:
    """Search until the study or this folder has its trials, then train the best again; returns what the last line says.

    Raises:
        UsageError, DataError: with every problem, before anything is written.
        Preempted: a signal asked to stop; the same command goes on.
        RunError: the command failed for another reason than the values.
    """
    search = plan_search(script, arguments)
    if arguments[RunArguments].dry_run:
        return {"dry_run": True, "study": search.name, "searched": [item.name for item in search.dimensions]}
    if run.folder is None:
        raise UsageError(Problem("--output_dir is missing", remedy="name the folder for the results"))
    run.start()
    run.record(study=search.name)
    trials = open_command_trials(search, run, run.folder)
    describe_command_search(search)
    for trial in within_bounds(trials.slots, search.options.optimize_kwargs):
        try:
            trials.run_trial(trial)
        finally:
            write_optimization_results(run.folder / RESULTS, list_finished(trials.study))
    return finish_search(search, trials, run)


def plan_search(script: Path, arguments: Arguments) -> CommandSearch:
    """Check all that can be checked: the command's line at the bounds of every hyperparameter, sampler, pruner.

    Raises:
        UsageError, DataError: with every problem.
    """
    quiet_optuna()
    options, command = arguments[CommandSearchArguments], script.stem
    parser = load_parser(script)
    require_trainer(parser, command)
    dimensions = build_command_space(options.params, parser, command)
    words = [*options.words, "--metric_for_best_model", options.metric.removeprefix("eval_")]
    words += [f"--{TESTS}", "False"] if TESTS in parser.fields else []
    problems, planned = ProblemList(), []
    if any(word.replace("-", "_").startswith("__output_dir") for word in words):
        problems.append(Problem("--output_dir is given for the trials", remedy="the search names the folder of each"))
    for cell in list_corners(dimensions):
        own = ProblemList()
        planned.append(own.attempt(plan_run, parser, script, cell, words, Path(options.output_dir)))
        problems.add([problem for problem in own if problem not in problems])
    problems.raise_any(UsageError)
    setting = shared_setting(parser, planned[0], options, dimensions)
    name = options.study_kwargs.get("study_name") or f"{command}-{options.metric}-{name_study({}, dimensions)}"
    make_sampler = SamplerMaker(options.study_kwargs, dimensions, seed_of(str(name)))
    pruner = build_pruner(options.study_kwargs, _refuse_texts)
    return CommandSearch(script, parser, options, words, dimensions, str(name), make_sampler, pruner, setting)


def _refuse_texts(test: BasePruner) -> BasePruner:
    raise AssertionError(f"{type(test).__name__} is refused with the arguments")


def shared_setting(
    parser: CommandParser, run: SweepRun | None, options: CommandSearchArguments, dimensions: list[Dimension]
) -> dict[str, Any]:
    """What all trials of a study must have in common to be compared: arguments, contents of the files that they name."""
    assert run is not None
    searched = {item.name for item in dimensions}
    values = parser.parse(run.command[2:]).effective()
    kept = {name: value for name, value in values.items() if name not in OF_NO_INFLUENCE | searched}
    files = {name: fingerprint(Path(value))["sha256"] for name, value in kept.items() if _is_file(value)}
    return {**kept, "params": options.params, "metric": options.metric, "sha256 of input files": files}


def _is_file(value: object) -> bool:
    try:
        return isinstance(value, str) and Path(value).is_file()
    except OSError:  # a text that is too long to be a path
        return False


def open_command_trials(search: CommandSearch, run: Run, folder: Path) -> CommandTrials:
    """Begin the study or join it.

    Raises:
        UsageError: the study of that name is of another setting; the storage is none.
    """
    options = search.options
    storage = open_storage(options.study_kwargs, folder)
    first = search.make_sampler(0)
    study = open_study(storage, search.name, search.setting, first, search.pruner, options.direction)
    slots = Slots(
        study,
        total=options.max_trials,
        here=search.trials_here,
        folder=folder,
        stop=run.stop,
        points=search.make_sampler.points,
    )
    return CommandTrials(
        *(study, slots, search.script, search.parser, search.words, options.metric),
        *(search.dimensions, search.make_sampler, folder, run.stop),
    )


def describe_command_search(search: CommandSearch) -> None:
    """What is searched how, in the log."""
    options, points = search.options, search.make_sampler.points
    here = f"{search.trials_here} in this folder" if search.trials_here else "as many as needed here"
    total = options.max_trials or ("any number of" if points is None else len(points))
    names = ", ".join(item.name for item in search.dimensions)
    logger.info("Study %s: %s trials in all, %s; %s.", search.name, total, here, names)
    visits = "" if points is None else f", {len(points)} points: {describe_points(points)}"
    logger.info("Sampler: %s%s. Pruning: %s.", search.make_sampler.name, visits, describe_pruner(search.pruner))
    logger.info("Trials are judged by %s of validation (%s); tests wait.", options.metric, options.direction)
    if holds_password(options.study_kwargs):
        logger.warning("The database URL holds a password, which is written to run.json; env:NAME reads it from $NAME.")


def finish_search(search: CommandSearch, trials: CommandTrials, run: Run) -> dict[str, Any]:
    """Table, plots, the best trial trained again; returns what the last line says.

    Raises:
        RunError: no trial is complete; the last training failed.
    """
    folder, found, best = trials.folder, list_finished(trials.study), find_best(trials.study)
    write_optimization_results(folder / RESULTS, found)
    write_importances(folder / IMPORTANCES, trials.study, seed=seed_of(search.name))
    measure = Measure(f"{search.options.metric} of validation", f"values of {search.options.metric}", "evaluation")
    for reason in write_optimization_plots(folder / PLOTS, trials.study, measure):
        logger.info("%s: a page is left out: %s.", PLOTS, reason)
    states = dict(sorted(Counter(trial.state.name.lower() for trial in found).items()))
    options = search.options
    facts: dict[str, Any] = {"study": search.name, "metric": options.metric, "direction": options.direction}
    facts["trials"] = states
    if best is None:
        came_to = ", ".join(f"{count} {state}" for state, count in states.items()) or "none was begun"
        remedy = "loosen the pruner or the ranges, or raise the number of trials, and run it again"
        raise RunError(f"no trial of the study {search.name!r} is complete ({came_to}), so nothing was found; {remedy}")
    values = trials.values_of(best)
    logger.info("Best: trial %d, %s %.6g, %s.", best.number, facts["metric"], best.value, describe_values(values))
    facts |= {"best_trial": best.number, "best_value": best.value, "best_params": values}
    write_metrics(folder, {"validation": {search.options.metric: best.value, "trial": best.number}})
    return facts | train_best(search, trials, best, values, run)


def train_best(
    search: CommandSearch, trials: CommandTrials, best: FrozenTrial, values: Mapping[str, Any], run: Run
) -> dict[str, Any]:
    """The best trial as the user's line has it, tests included, in `best/`: once, by the process that found it.

    Raises:
        RunError: it failed.
    """
    if not search.options.final:
        return {"model": str(trials.folder_of(best))}
    if not trials.is_mine(best):
        where = trials.folder_of(best).parents[1]
        logger.info("The best trial is of the process in %s, which trains it again and tests it.", where)
        return {"model": str(where / BEST)}
    metric = ["--metric_for_best_model", search.options.metric.removeprefix("eval_")]
    cell = make_cell(search.dimensions, values)
    planned = plan_run(search.parser, search.script, cell, [*search.options.words, *metric], trials.folder)
    folder = trials.folder / BEST
    command = [*planned.command[:-1], str(folder)]  # the last two words name the output folder
    logger.info("Training the best trial again in %s, tests included.", folder)
    logs = trials.folder / LOGS / f"{BEST}.log"
    code = run_command(command, logs, logs.with_suffix(".evaluations"), run.stop, lambda: False)
    said = read_last_line(logs.with_suffix(".out"))
    if code != EXIT_DONE:
        raise RunError(
            f"the last training ended with code {code}: {said.get('reason')}. Its log is {logs.with_suffix('.err')}."
        )
    return {"model": str(folder), "result": {name: said[name] for name in said if name not in ("status", "output_dir")}}
