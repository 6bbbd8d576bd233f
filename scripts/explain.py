"""Tell on one screen what a run did: command, data, model, schedule, chosen checkpoint, scores, what was left out.

    python explain.py outputs/wnut17

It reads the files of the output folder, of a run that is done, interrupted or going on, and changes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.explaining.arguments import ExplainArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", (ExplainArguments, RunArguments), positionals=("run",))


def main(arguments: Arguments, run: Run) -> dict[str, Any]:  # noqa: ARG001
    from finetune.explaining.explanation import explain_run
    from finetune.run.process_exit import write_result

    folder = Path(arguments[ExplainArguments].run)
    for line in explain_run(folder):
        write_result(line)
    return {"run": str(folder)}


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
