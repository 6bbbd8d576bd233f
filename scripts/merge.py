"""Merge an adapter into the model that it was trained on: a plain model folder comes out, equal to rounding.

    python merge.py outputs/wnut17-lora --output_dir outputs/wnut17-plain

RUN is the output folder of a training with --peft, one of its checkpoints, or a folder that `peft` wrote. docs/adapting.md
tells more.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.merging import MergeArguments
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", (MergeArguments, RunArguments), positionals=("run",))


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.models.merging import open_merge, write_merged

    merge = open_merge(arguments[MergeArguments])
    if arguments[RunArguments].dry_run:
        return {"dry_run": True, "base": merge.adapter.base}
    run.start()
    assert run.folder is not None
    return write_merged(merge, run.folder)


if __name__ == "__main__":
    cli.launch(make_parser, main)
