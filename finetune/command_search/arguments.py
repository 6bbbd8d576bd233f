"""Arguments of `finetune search`: which command, what of it is searched by which metric, for how long, kept where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from finetune.arguments.fields import argument
from finetune.errors import Problem
from finetune.lm_experiments.arguments import check_keys
from finetune.lm_experiments.dotted import DottedArguments, DottedParser
from finetune.lm_experiments.object_names import ObjectKind
from finetune.search.arguments import (
    OPTIMIZE_DEFAULTS,
    STUDY_DEFAULTS,
    STUDY_OBJECTS,
    check_optimization,
    check_study,
)
from finetune.sweep.arguments import RUNS, split_at_runs
from finetune.sweep.table import OF_TESTS, lower_is_better

DIRECTIONS = ("minimize", "maximize")
COMMAND_STUDY_DEFAULTS: dict[str, Any] = {
    **STUDY_DEFAULTS,
    "pruner": "optuna.pruners.MedianPruner",
    "pruner_kwargs": {},
    "direction": None,
}
WILCOXON = "WilcoxonPruner"
TRIALS = 10


@dataclass
class CommandSearchArguments:
    """Search."""

    OBJECTS: ClassVar[dict[str, ObjectKind]] = STUDY_OBJECTS

    command: str = argument(help="a command of ours that trains, as run_ner or scripts/run_ner.py")
    output_dir: str = argument(
        metavar="FOLDER", help="each trial gets a folder in it; the best is trained again in best/"
    )
    metric: str = argument(
        metavar="METRIC", help="a metric of validation, as the command logs it after eval_: f1, loss"
    )
    params: dict = argument(
        {}, help="what is searched: FLAG.values LOW HIGH, or FLAG.values A B C; FLAG.suggest_kwargs.log; FLAG.type"
    )
    max_trials: int | None = argument(
        None, minimum=1, help="finished trials of the study in all, over every process and every start"
    )
    study_kwargs: dict = argument(
        COMMAND_STUDY_DEFAULTS, help="name, direction, sampler, pruner and storage of the study"
    )
    optimize_kwargs: dict = argument(
        OPTIMIZE_DEFAULTS,
        help=f"n_trials: trials of this output folder ({TRIALS} without --max_trials); timeout: seconds after which no "
        "trial begins",
    )
    final: bool = argument(True, help="train the best trial again in best/, tests included, once the search has ended")
    words: list[str] = argument([], metavar="WORD", help="the flags of every trial: what follows a lone --")

    @property
    def trials_here(self) -> int | None:
        """Trials that this output folder may run, None where only the total counts."""
        asked = self.optimize_kwargs.get("n_trials")
        return TRIALS if asked is None and self.max_trials is None else asked

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """Whether the metric is to be small: as asked, else by its name."""
        asked = self.study_kwargs.get("direction") or DIRECTIONS[not lower_is_better(self.metric)]
        return "minimize" if asked == "minimize" else "maximize"

    def problems(self) -> list[Problem]:
        given = self.study_kwargs
        problems = [*check_keys("study_kwargs", given, STUDY_DEFAULTS), *check_study(given)]
        if given.get("direction") not in (None, *DIRECTIONS):
            found = f"--study_kwargs.direction is {given['direction']!r}"
            problems.append(Problem(found, f"allowed: {' or '.join(DIRECTIONS)}"))
        if any(word in self.metric.casefold().split("_") for word in OF_TESTS):
            remedy = "name a metric of validation: tests choose nothing"
            problems.append(Problem(f"--metric {self.metric} is a metric of tests", remedy=remedy))
        if WILCOXON in str((given.get("pruner"), given.get("pruner_kwargs"))):
            remedy = "choose MedianPruner, PatientPruner, ...; `finetune_lm --do_optimize` has it"
            found = f"--study_kwargs.pruner {WILCOXON} compares losses of single texts, which commands do not report"
            problems.append(Problem(found, remedy=remedy))
        return [*problems, *check_optimization(self.optimize_kwargs)]


class CommandSearchParser(DottedParser):
    """The words after a lone `--` are those of the command."""

    def parse(self, argv: Sequence[str]) -> DottedArguments:
        own, of_trials = split_at_runs(argv)
        arguments = super().parse(own)
        arguments.argv = tuple(argv)
        if RUNS in arguments.argv:
            arguments[CommandSearchArguments].words = of_trials
        return arguments
