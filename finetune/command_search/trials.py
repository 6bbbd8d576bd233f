"""One trial of `finetune search`: values -> a run of the command in a folder of its own -> its best metric on validation."""

from __future__ import annotations

import logging
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from finetune.arguments.parser import CommandParser
from finetune.command_search.space import make_cell
from finetune.errors import EXIT_DONE, EXIT_NON_FINITE, RunError
from finetune.run.evaluations import VARIABLE, read_evaluations
from finetune.run.parent import name_parent
from finetune.run.signals import StopRequest
from finetune.search.pruning import find_best
from finetune.search.slots import FINISHED, Slots
from finetune.search.space import Dimension
from finetune.search.study import SamplerMaker
from finetune.search.trials import REASON, describe_values
from finetune.search.turns import OWNER
from finetune.sweep.task import SweepRun, plan_run, read_last_line

logger = logging.getLogger(__name__)

LOGS, TRIALS = "logs", "trials"
FOLDER = "folder"  # attribute of a trial: the name of its run's folder
POLL = 0.1
NO_MEMORY = ("out of memory", "OutOfMemoryError")


@dataclass
class CommandTrials:
    """Runs the trials of a study in one process, one after another, and keeps the folder of the best.

    Args:
        script: the command's file.
        words: the flags that all trials share.
        metric: as the command logs it after `eval_`.
    """

    study: Study
    slots: Slots
    script: Path
    parser: CommandParser
    words: Sequence[str]
    metric: str
    dimensions: Sequence[Dimension]
    make_sampler: SamplerMaker
    folder: Path
    stop: StopRequest

    def values_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """The values of a trial of the study."""
        return {item.name: item.value_of(trial.params[item.name]) for item in self.dimensions}

    def plan(self, values: Mapping[str, Any], words: Sequence[str], folder: Path) -> SweepRun:
        """The run of these values, its line checked by the command's parser."""
        return plan_run(self.parser, self.script, make_cell(self.dimensions, values), list(words), folder)

    def run_trial(self, trial: Trial) -> None:
        """Run one trial and tell the study how it ended.

        Raises:
            Preempted: a signal asked to stop; whoever goes on tries the trial's values again.
            RunError: the command failed, and not for the values alone; the trial is failed.
        """
        self.study.sampler = self.make_sampler(trial.number)
        values = {item.name: item.suggest(trial) for item in self.dimensions}
        logger.info("Trial %d: %s.", trial.number, describe_values(values))
        try:
            with self.slots.held(trial):
                self._end(trial, self._train(trial, values))
        finally:
            self.drop_models()

    def _train(self, trial: Trial, values: Mapping[str, Any]) -> float | None:
        """The best metric; None for a trial that was pruned, or whose values do not let it go on."""
        run = self.plan(values, self.words, self.folder / TRIALS)
        trial.set_user_attr(FOLDER, run.folder.name)
        logs = self.folder / LOGS / f"{run.cell.name}.log"
        lines = logs.with_suffix(".evaluations")
        pruned = False

        reported = 0

        def watch() -> bool:
            nonlocal pruned, reported
            count = self._report(trial, lines, reported)
            pruned = pruned or (count > reported and trial.should_prune())
            reported = count
            return pruned

        code = run_command(run.command, logs, lines, self.stop, watch)
        if self.stop.requested and code != EXIT_DONE:
            self.stop.raise_preempted()
        self._report(trial, lines, reported)
        if code == EXIT_DONE:
            return self._best(run, lines)
        if not pruned:
            trial.set_user_attr(REASON, self._why(run, code, logs))
        return None

    def _report(self, trial: Trial, lines: Path, reported: int) -> int:
        """Hand evaluations to the study that are new, numbered from 1; how many there are now."""
        try:
            found = read_evaluations(lines, self.metric)
        except KeyError as error:
            raise RunError(f"--metric {self.metric}: an evaluation has {error.args[0]}") from None
        for number, value in enumerate(found[reported:], reported + 1):
            trial.report(value, number)
        return len(found)

    def _best(self, run: SweepRun, lines: Path) -> float | None:
        found = [value for value in read_evaluations(lines, self.metric) if math.isfinite(value)]
        if not found:
            remedy = "give it validation data, --do_eval and an --eval_strategy"
            raise RunError(f"the run in {run.folder} evaluated nothing, so that nothing can be judged; {remedy}")
        return (max if self.study.direction is StudyDirection.MAXIMIZE else min)(found)

    def _why(self, run: SweepRun, code: int, logs: Path) -> str:
        """Why values did not let a run go on.

        Raises:
            RunError: it failed for another reason, which the next trial would meet, too.
        """
        reason = str(read_last_line(logs.with_suffix(".out")).get("reason", "it said nothing"))
        if code == EXIT_NON_FINITE or any(word in reason for word in NO_MEMORY):
            return reason
        raise RunError(
            f"the run in {run.folder} ended with code {code}: {reason.rstrip('.')}. Its log is {logs.with_suffix('.err')}."
        )

    def _end(self, trial: Trial, value: float | None) -> None:
        if value is None:
            self.study.tell(trial, state=TrialState.PRUNED)
            logger.info("Trial %d: pruned.", trial.number)
            return
        self.study.tell(trial, value)
        logger.info("Trial %d: %s %.6g.", trial.number, self.metric, value)

    def folder_of(self, trial: FrozenTrial) -> Path:
        """Where the run of a trial lies while it is the best one."""
        return Path(trial.user_attrs.get(OWNER, {}).get("folder", "")) / TRIALS / trial.user_attrs.get(FOLDER, "")

    def is_mine(self, trial: FrozenTrial) -> bool:
        """Whether a process with this output folder ran the trial."""
        return trial.user_attrs.get(OWNER, {}).get("folder") == self.slots.me["folder"]

    def drop_models(self) -> None:
        """Remove the runs of finished trials but the best; interrupted ones go on when their values are tried again."""
        best = find_best(self.study)
        finished = [trial for trial in self.study.get_trials(deepcopy=False, states=FINISHED) if self.is_mine(trial)]
        kept = self.folder_of(best) if best else None
        for folder in {self.folder_of(trial) for trial in finished} - {kept}:
            shutil.rmtree(folder, ignore_errors=True)


def run_command(
    command: Sequence[str], logs: Path, lines: Path, stop: StopRequest, is_to_end: Callable[[], bool]
) -> int:
    """The exit code of a command, which gets SIGTERM once when a signal came here, or when `is_to_end` says so."""
    logs.parent.mkdir(parents=True, exist_ok=True)
    told = False
    environment = {**os.environ, **name_parent(), VARIABLE: str(lines.resolve())}
    with stop.deferred(), logs.with_suffix(".out").open("wb") as out, logs.with_suffix(".err").open("ab") as err:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, start_new_session=True
        )
        try:
            while (code := process.poll()) is None:
                if not told and (stop.requested or is_to_end()):
                    told = True
                    process.send_signal(signal.SIGTERM)
                time.sleep(POLL)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    return code
