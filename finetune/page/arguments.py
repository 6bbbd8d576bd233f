"""Arguments of `finetune report`: whose page is made again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finetune.arguments.fields import argument
from finetune.errors import Problem
from finetune.run.manifest import MANIFEST


@dataclass
class ReportArguments:
    """Page."""

    run: str = argument(metavar="FOLDER", help="the output folder of a run")

    def problems(self) -> list[Problem]:
        return check_run(self.run, "run")


def check_run(folder: str, flag: str) -> list[Problem]:
    """What keeps a folder from being a run's."""
    path = Path(folder)
    if not path.is_dir():
        return [Problem(f"{flag}: there is no such folder", remedy="name the output folder of a run", path=path)]
    if not (path / MANIFEST).is_file():
        return [Problem(f"{flag}: the folder has no {MANIFEST}", remedy="name the output folder of a run", path=path)]
    return []
