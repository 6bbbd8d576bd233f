"""Arguments of `finetune explain` and `finetune completion`."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.arguments.fields import argument
from finetune.errors import Problem
from finetune.page.arguments import check_run

SHELLS = ("bash", "zsh")


@dataclass
class ExplainArguments:
    """Run."""

    run: str = argument(metavar="FOLDER", help="the output folder of a run, done or not")

    def problems(self) -> list[Problem]:
        return check_run(self.run, "run")


@dataclass
class CompletionArguments:
    """Shell."""

    shell: str = argument(choices=SHELLS, help="the shell whose completion is printed")
