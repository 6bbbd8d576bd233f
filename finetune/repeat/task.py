"""A command repeated over seeds and folds, step by step: folds cut, runs checked and started, their scores spread out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from finetune.arguments.parser import CommandParser
from finetune.arguments.run import RunArguments
from finetune.errors import DataError, Problem, UsageError
from finetune.page.folder import RunFolder
from finetune.repeat.arguments import RepeatArguments
from finetune.repeat.ensemble import EnsembleScore, score_ensemble
from finetune.repeat.folds import Fold, plan_folds
from finetune.repeat.report import Scored, print_ensemble, print_spread, write_repeat
from finetune.repeat.spread import Finished, spread_classes, spread_scores
from finetune.repeat.suspects import write_suspects
from finetune.run.lock import FolderLock
from finetune.run.signals import StopRequest
from finetune.sweep.arguments import SweepArguments
from finetune.sweep.grid import Cell
from finetune.sweep.task import SweepRun, check_flags, finish_sweep, load_parser, plan_cells, print_plan, start_runs

logger = logging.getLogger(__name__)

FOLDS = "folds"
TRAIN, TEST = "train_file", "test_file"
PROBABILITIES = ("save_word_probabilities",)
TESTED = ("do_predict", *PROBABILITIES)  # the fold that was left out is predicted
LABEL_COLUMNS = ("label_column", "label_column_name")


@dataclass(frozen=True)
class Planned:
    """A cell with its seed and its fold."""

    cell: Cell
    seed: int
    fold: int | None


def run_repeat(script: Path, options: RepeatArguments, behaviour: RunArguments, stop: StopRequest) -> dict[str, Any]:
    """Run a command over seeds and folds; what is finished already is not run again.

    Raises:
        UsageError, DataError: the command line, the file of the folds, or a run's arguments are wrong.
        RunError: runs failed. Preempted: a signal came.
    """
    parser, folder = load_parser(script), Path(options.output_dir)
    words, train = take_train_file(options.words) if options.folds else (list(options.words), None)
    check_repeat(parser, script, words, train)
    folds = cut_folds(options, train, words, folder, write=not behaviour.dry_run)
    planned = plan(options, folds)
    words += _further_flags(parser, words, TESTED if folds else PROBABILITIES)
    runs = plan_cells(parser, script, [item.cell for item in planned], words, folder, behaviour)
    if behaviour.dry_run:
        print_plan(runs)
        return {"dry_run": True, "runs": len(runs)}
    _run_all(runs, options, folder, stop)
    done = [Finished(item.cell.name, item.seed, item.fold, RunFolder(folder / item.cell.name)) for item in planned]
    return report(folder, options, done, folds)


def take_train_file(words: Sequence[str]) -> tuple[list[str], Path]:
    """The words without --train_file, which the folds name, and its file.

    Raises:
        UsageError: it is not given, or is not one file.
    """
    names = [word.lstrip("-").replace("-", "_").partition("=")[0] if word.startswith("--") else "" for word in words]
    if names.count(TRAIN) != 1:
        raise UsageError(
            Problem("--folds cut one training file", remedy="give --train_file FILE once behind the lone --")
        )
    place = names.index(TRAIN)
    end = next((n for n in range(place + 1, len(words)) if words[n].startswith("--")), len(words))
    equals = words[place].partition("=")[2]
    files = [*([equals] if equals else []), *words[place + 1 : end]]
    if len(files) != 1 or any(letter in files[0] for letter in "*?["):
        raise UsageError(
            Problem(f"--folds cut one training file, not {' '.join(files) or 'none'}", remedy="join them into one")
        )
    return [*words[:place], *words[end:]], Path(files[0]).expanduser()


def check_repeat(parser: CommandParser, script: Path, words: Sequence[str], train: Path | None) -> None:
    """What is wrong with the flags before anything is cut.

    Raises:
        UsageError: with every problem.
    """
    set_here = ["seed", *([TRAIN, TEST, "do_predict"] if train else [])]
    problems = check_flags(parser, {name: [] for name in set_here}, words, script)
    typed = {word.lstrip("-").replace("-", "_").partition("=")[0] for word in words if word.startswith("--")}
    given = [name for name in ("seed", *([TEST, "data_dir", "dataset_name"] if train else [])) if name in typed]
    problems += [
        Problem(f"--{name} is given for the runs", remedy="take it out: seeds and folds are set here") for name in given
    ]
    if problems:
        raise UsageError(*problems)


def cut_folds(
    options: RepeatArguments, train: Path | None, words: Sequence[str], folder: Path, *, write: bool
) -> list[Fold]:
    """The folds in `folds/`; none where none are asked for."""
    if train is None or options.folds is None:
        return []
    column = find_typed(words, LABEL_COLUMNS)
    return plan_folds(train, folder / FOLDS, options.folds, options.fold_seed, write=write, label_column=column)


def find_typed(words: Sequence[str], names: Sequence[str]) -> str | None:
    """The value that was typed for a flag of one of these names."""
    for word, following in pairwise([*words, ""]):
        name, equals, value = word.lstrip("-").partition("=")
        if word.startswith("--") and name.replace("-", "_") in names:
            return value if equals else following
    return None


def plan(options: RepeatArguments, folds: Sequence[Fold]) -> list[Planned]:
    """Every seed with every fold."""
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    if not folds:
        return [Planned(Cell(f"seed={seed}", {"seed": str(seed)}), seed, None) for seed in seeds]
    return [_plan_fold(seed, fold) for seed in seeds for fold in folds]


def _plan_fold(seed: int, fold: Fold) -> Planned:
    values = {TRAIN: str(fold.train), TEST: str(fold.test), "seed": str(seed)}
    return Planned(Cell(f"fold={fold.number},seed={seed}", values), seed, fold.number)


def _further_flags(parser: CommandParser, words: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Flags that the command has and that were not typed."""
    typed = {word.lstrip("-").replace("-", "_").partition("=")[0] for word in words}
    return [f"--{name}" for name in wanted if name in parser.fields and name not in typed]


def _run_all(runs: Sequence[SweepRun], options: RepeatArguments, folder: Path, stop: StopRequest) -> None:
    """By the machinery of sweeps: a few at a time, each in its own process; finished ones are skipped."""
    sweep = SweepArguments(command=options.command, output_dir=options.output_dir, processes=options.processes)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder)
    lock.acquire()
    try:
        finish_sweep(runs, start_runs(runs, sweep, folder, stop), sweep, folder)
    finally:
        lock.release()


def report(folder: Path, options: RepeatArguments, runs: Sequence[Finished], folds: Sequence[Fold]) -> dict[str, Any]:
    """Print and write the spread of all scores, and the suspects of folds."""
    scores, classes = spread_scores(runs), spread_classes(runs)
    if not scores:
        raise DataError(Problem("the runs left no metrics.json", remedy="repeat a command that scores, with --do_eval"))
    print_spread(scores)
    ensemble = _ensemble(runs)
    print_ensemble(ensemble)
    suspects = _suspects(folder, runs, folds) if folds else {}
    write_repeat(folder, runs, Scored(scores, classes, ensemble), options)
    split = "test" if "test" in scores else next(iter(scores))
    means = {name: spread.mean for name, spread in scores[split].items()}
    together = {score.name: score.ensemble for score in ensemble}
    return {
        "runs": len(runs),
        "split": split,
        "mean": means,
        **({"ensemble": together} if together else {}),
        **suspects,
    }


def _ensemble(runs: Sequence[Finished]) -> list[EnsembleScore]:
    try:
        return score_ensemble(runs)
    except (DataError, UsageError) as error:
        logger.warning("The models of all seeds are not scored as one: %s", error)
        return []


def _suspects(folder: Path, runs: Sequence[Finished], folds: Sequence[Fold]) -> dict[str, Any]:
    try:
        path, listed, issues = write_suspects(folder, runs, folds)
    except DataError as error:
        logger.warning("There is no list of suspects: %s", error)
        return {}
    logger.info("%s: %d items, %d of them with a label that confident learning doubts.", path, listed, issues)
    return {"suspects": str(path), "suspects_listed": listed, "label_issues": issues}
