"""Make the page of a run again: report.html, from the files of its output folder.

    python report.py outputs/wnut17

Every command that scores something writes the page itself when it ends, unless told --no_html_report. The page is one file,
which needs no network: curves, scores, confusions, errors, data, and the command to repeat. docs/reports.md tells more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.page.arguments import ReportArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", (ReportArguments, RunArguments), positionals=("run",))


def main(arguments: Arguments, run: Run) -> dict[str, Any]:  # noqa: ARG001
    from finetune.page.task import rebuild_page

    return rebuild_page(Path(arguments[ReportArguments].run))


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
