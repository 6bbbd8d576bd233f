"""A sweep: every run of a grid is checked first, then started, or written as a Slurm array; a table at the end."""

from __future__ import annotations

import json
import logging
import os
import runpy
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.arguments.nearest import allowed_values
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.arguments.secrets import hide, hide_words, is_secret_name
from finetune.errors import (
    EXIT_DONE,
    EXIT_LOCKED,
    EXIT_PREEMPTED,
    DataError,
    Preempted,
    Problem,
    ProblemList,
    RunError,
    UsageError,
)
from finetune.run.folder import Action, Request, decide
from finetune.run.lock import FolderLock
from finetune.run.manifest import read_manifest
from finetune.run.signals import StopRequest
from finetune.sweep.arguments import SweepArguments
from finetune.sweep.grid import Cell, make_cells, read_grid
from finetune.sweep.local_processes import Job, run_jobs
from finetune.sweep.slurm import COMMANDS, LOGS, write_array_script
from finetune.sweep.table import TABLE, SweepRow, list_metrics, sort_rows, validation_metrics, write_sweep_table

logger = logging.getLogger(__name__)

STATUS = {EXIT_DONE: "done", EXIT_LOCKED: "locked", EXIT_PREEMPTED: "preempted"}
NAMED_AT_MOST = 5


@dataclass(frozen=True)
class SweepRun:
    """One run: its cell of the grid, its folder, its command line."""

    cell: Cell
    folder: Path
    command: list[str]
    action: Action


def run_sweep(script: Path, options: SweepArguments, behaviour: RunArguments, stop: StopRequest) -> dict[str, Any]:
    """Check all runs, then start those that are not finished, or write the array script, or only the table.

    Args:
        script: the command's file.
        options: the grid and how to run it.
        behaviour: --restart and --overwrite_output_dir are handed to every run.
        stop: a signal ends all runs, which save their state.

    Raises:
        UsageError, DataError: with every problem of every run, before any is started.
        RunError: runs failed, or are in use by other processes; the table is written.
        Preempted: a signal came.
    """
    if options.sort_by and not validation_metrics({options.sort_by: 0.0}):
        remedy = "name a metric of validation: tests choose nothing"
        raise UsageError(Problem(f"--sort_by {options.sort_by} is a metric of tests", remedy=remedy))
    runs = plan_runs(script, options, behaviour)
    folder = Path(options.output_dir)
    if behaviour.dry_run:
        print_plan(runs)
        return {"dry_run": True, "runs": len(runs)}
    folder.mkdir(parents=True, exist_ok=True)
    if options.slurm:
        return write_array(runs, options, folder)
    if options.collect:
        return finish_sweep(runs, {}, options, folder)
    lock = FolderLock(folder)
    lock.acquire()
    try:
        return finish_sweep(runs, start_runs(runs, options, folder, stop), options, folder)
    finally:
        lock.release()


def plan_runs(script: Path, options: SweepArguments, behaviour: RunArguments) -> list[SweepRun]:
    """Every run of the grid, its command line checked by the command's own parser.

    Raises:
        UsageError, DataError: with every problem, each once.
    """
    axes = read_grid(options.grid, Path(options.grid_file) if options.grid_file else None)
    parser = load_parser(script)
    problems = ProblemList()
    problems.add(check_flags(parser, axes, options.words, script))
    problems.raise_any(UsageError)
    return plan_cells(parser, script, make_cells(axes), options.words, Path(options.output_dir), behaviour)


def plan_cells(
    parser: CommandParser,
    script: Path,
    cells: Sequence[Cell],
    words: Sequence[str],
    folder: Path,
    behaviour: RunArguments,
) -> list[SweepRun]:
    """A run for each cell, in a folder of its name, checked by the command's own parser.

    Raises:
        UsageError, DataError: with every problem, each once.
    """
    problems, runs = ProblemList(), []
    extra = [f"--{name}" for name in ("restart", "overwrite_output_dir") if getattr(behaviour, name)]
    for cell in cells:
        own = ProblemList()
        run = own.attempt(plan_run, parser, script, cell, [*words, *extra], folder)
        problems.add(own)
        runs += [run] if run else []
    problems.raise_any(UsageError)
    return runs


def load_parser(script: Path) -> CommandParser:
    """The parser of a command.

    Raises:
        UsageError: it has none, or keeps no output folder.
    """
    make_parser = runpy.run_path(str(script)).get("make_parser")
    parser = make_parser() if make_parser else None
    if parser is None or "output_dir" not in parser.fields:
        remedy = "sweep a command that has --output_dir"
        raise UsageError(Problem(f"{script.stem} keeps no runs in an output folder", remedy=remedy))
    return parser


def check_flags(parser: CommandParser, axes: Mapping[str, Any], words: Sequence[str], script: Path) -> list[Problem]:
    """Flags of the grid that the command does not have; the output folder, which is the sweep's to name."""
    known = {spelling for item in parser.fields.values() for spelling in (item.name, *item.aliases)} | set(
        parser.old_flags
    )
    unknown = [name for name in axes if name.partition(".")[0] not in known]
    problems = [Problem(f"{script.stem} has no --{name} to sweep", allowed_values(name, known)) for name in unknown]
    if "output_dir" in axes or any(word.replace("-", "_").startswith("__output_dir") for word in words):
        problems.append(Problem("--output_dir is given for the runs", remedy="the sweep names the folder of each"))
    if not axes:
        problems.append(Problem("there is no grid", remedy="give --grid learning_rate=1e-5,3e-5 seed=1,2,3"))
    return problems


def plan_run(parser: CommandParser, script: Path, cell: Cell, words: list[str], folder: Path) -> SweepRun:
    """Check one run as its command would, folder included."""
    own = folder / cell.name
    argv = [*words, *cell.words, "--output_dir", str(own)]
    before = sys.argv
    sys.argv = [str(script), *argv]  # some parsers look at it
    try:
        arguments = parser.parse(argv)
        action = decide(own, _request(script, arguments))
    finally:
        sys.argv = before
    return SweepRun(cell, own, [sys.executable, os.path.relpath(script), *argv], action)


def _request(script: Path, arguments: Arguments) -> Request:
    asked = arguments.find(RunArguments) or RunArguments()
    return Request(
        program=script.name,
        arguments=arguments.effective(),
        typed=arguments.typed,
        overwrite=asked.overwrite_output_dir,
        restart=asked.restart,
    )


def print_plan(runs: Sequence[SweepRun]) -> None:
    """What would happen to each run, and its command line without secrets."""
    lines = (f"{run.action.value:12} {shlex.join(hide_words(run.command))}\n" for run in runs)
    print("".join(lines), end="")


def write_array(runs: Sequence[SweepRun], options: SweepArguments, folder: Path) -> dict[str, Any]:
    """The Slurm script; what to type next.

    Raises:
        UsageError: a secret would stand in the list of commands.
    """
    refuse_secrets(runs, folder / COMMANDS)
    at_once = options.processes if options.processes > 1 else None
    path = write_array_script(
        folder,
        [run.command for run in runs],
        at_once=at_once,
        options=options.slurm_options,
        per_task=options.runs_per_task,
    )
    logger.info("%d runs: submit them by `sbatch %s`, and collect the table by --collect afterwards.", len(runs), path)
    return {"runs": len(runs), "script": str(path)}


def refuse_secrets(runs: Sequence[SweepRun], path: Path) -> None:
    """Words that the redaction would change are nothing to leave in a file.

    Raises:
        UsageError: there are some; which they are is not said.
    """
    if any(is_hidden_by_name(run.command) or any(hide(word) != word for word in run.command) for run in runs):
        found = f"a secret (a token, or a password in an address) would stand in {path}"
        remedy = "give it to the tasks by a variable (HF_TOKEN, ...), or by a --config_file that only you can read"
        raise UsageError(Problem(found, remedy=remedy))


def is_hidden_by_name(command: Sequence[str]) -> bool:
    """Whether a flag gives a secret by its name, however short that is."""
    return any(word.startswith("--") and is_secret_name(word.partition("=")[0]) for word in command)


def start_runs(runs: Sequence[SweepRun], options: SweepArguments, folder: Path, stop: StopRequest) -> dict[str, int]:
    """Start the runs that are not finished; returns exit codes by name.

    Raises:
        Preempted: a signal came.
    """
    jobs = [Job(run.cell.name, run.command, folder / LOGS / f"{run.cell.name}.log") for run in runs if _is_open(run)]
    done = len(runs) - len(jobs)
    logger.info("%d runs, %d of them finished already; %d at a time.", len(runs), done, options.processes)
    codes: dict[str, int] = {}

    def ended(job: Job, code: int) -> None:
        codes[job.name] = code
        logger.info("%s: %s (%d of %d).", job.name, _status(code), done + len(codes), len(runs))

    run_jobs(jobs, processes=options.processes, stop=stop, ended=ended)
    return codes


def _is_open(run: SweepRun) -> bool:
    return run.action is not Action.ALREADY_DONE


def _status(code: int) -> str:
    return STATUS.get(code, "failed")


def finish_sweep(
    runs: Sequence[SweepRun], codes: dict[str, int], options: SweepArguments, folder: Path
) -> dict[str, Any]:
    """Write and print the table.

    Raises:
        RunError, Preempted: not all runs are done.
        UsageError: there is no metric to sort by.
    """
    rows = [describe_run(run, codes.get(run.cell.name), folder) for run in runs]
    failed = [row for row in rows if row.status in ("failed", "locked")]
    if options.sort_by and (list_metrics(rows) or not failed):
        rows = _sort(rows, options.sort_by)
    print(write_sweep_table(folder, rows), end="")
    counts = Counter(row.status for row in rows)
    if failed and not options.collect:
        shown = "; ".join(f"{row.name}: {row.reason or row.status}" for row in failed[:NAMED_AT_MOST])
        more = f"; and {len(failed) - NAMED_AT_MOST} more" if len(failed) > NAMED_AT_MOST else ""
        raise RunError(f"{len(failed)} of {len(rows)} runs failed: {shown}{more}. Logs are in {folder / LOGS}.")
    if counts["preempted"] and not options.collect:
        raise Preempted(f"{counts['preempted']} runs were stopped; run the same command again to go on")
    best = {"best": rows[0].name} if options.sort_by and options.sort_by in rows[0].metrics else {}
    return {"runs": len(rows), **dict(counts), "table": str(folder / TABLE), **best}


def _sort(rows: list[SweepRow], metric: str) -> list[SweepRow]:
    known = list_metrics(rows)
    if metric not in known:
        allowed = allowed_values(metric, known) if known else "no run has a validation metric yet"
        raise UsageError(Problem(f"--sort_by is {metric!r}, which no run has among its validation metrics", allowed))
    return sort_rows(rows, metric)


def describe_run(run: SweepRun, code: int | None, folder: Path) -> SweepRow:
    """A row of the table: from the run's own record, its last line where it has none."""
    try:
        record = read_manifest(run.folder)
    except DataError as error:
        return SweepRow(run.cell.name, run.cell.values, "failed", str(error))
    last = read_last_line(folder / LOGS / f"{run.cell.name}.out")
    status = record["status"] if record else "not begun"
    if code is not None and code != EXIT_DONE:
        status = _status(code)
    reason = "" if status == "done" else str((record or {}).get("reason") or (last.get("reason") if code else "") or "")
    metrics = validation_metrics(record.get("result", {})) if record and status == "done" else {}
    return SweepRow(run.cell.name, run.cell.values, status, reason, metrics)


def read_last_line(path: Path) -> dict[str, Any]:
    """What a run said in its last line, nothing where it said none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return {}
    return found if isinstance(found, dict) else {}
