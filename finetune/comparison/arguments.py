"""Arguments of `finetune compare`: which runs, on which split, by which test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from finetune.arguments.fields import argument
from finetune.arguments.parser import Arguments, CommandParser
from finetune.errors import Problem
from finetune.page.arguments import check_run


@dataclass
class CompareArguments:
    """Comparison."""

    runs: list[str] = argument(metavar="FOLDER", help="output folders of runs; the others are compared with the first")
    split: str | None = argument(
        None, help="whose predictions are compared; without it test, else validation, whichever all runs have"
    )
    method: Literal["randomisation", "bootstrap"] = argument(
        "randomisation", help="approximate randomisation, or the paired bootstrap, for the p-values"
    )
    trials: int = argument(10_000, minimum=100, help="how often labels of runs are exchanged, or examples drawn again")
    seed: int = argument(42, minimum=0, help="of the random exchanges and draws")
    alpha: float = argument(
        0.05, minimum=1e-6, maximum=0.5, help="the chance of an error that is accepted over all tests"
    )
    output_dir: str | None = argument(
        None, metavar="FOLDER", help="where comparison.html, .md and .json go; without it the table is only printed"
    )

    def problems(self) -> list[Problem]:
        found = [problem for run in self.runs for problem in check_run(run, "runs")]
        if len(self.runs) < 2:
            found.append(Problem("one run alone cannot be compared", remedy="name two or more output folders"))
        if len(set(self.runs)) < len(self.runs):
            found.append(Problem("a run is named twice", remedy="name each once"))
        return found


class CompareParser(CommandParser):
    """The words before the first flag are the runs."""

    def parse(self, argv: Sequence[str]) -> Arguments:
        first = next((place for place, word in enumerate(argv) if word.startswith("-")), len(argv))
        leading = list(argv[:first])
        arguments = super().parse([*(["--runs", *leading] if leading else []), *argv[first:]])
        arguments.argv = tuple(argv)
        return arguments
