"""Look over this machine and installation: one line per item, ok, note or wrong, and what to do.

    python doctor.py

Versions, devices, native kernels, disk, cache folder, hub; then a tiny tagger is trained and predicts. Exit code 1 where
something that is needed is broken. docs/errors.md tells more.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", (RunArguments,))


def main(arguments: Arguments, run: Run) -> dict[str, Any]:  # noqa: ARG001
    from finetune.doctor.task import examine

    return examine()


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
