"""Fetch GLUE into the official layout, and check a folder of GLUE data or a submission.

    python download_glue_data.py --data_dir glue_data --tasks all
    python download_glue_data.py --data_dir glue_data --tasks CoLA,SST,MRPC
    python download_glue_data.py --check glue_data
    python download_glue_data.py --check wdir/sst2/submission

Where an address cannot be reached, it says which files to place where. A check compares files, columns, labels and
numbers of rows with the official ones, and ends with exit code 2 where anything differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.preparation import DownloadGlueArguments
from finetune.errors import DataError
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", (DownloadGlueArguments,))


def main(arguments: Arguments, _: Run) -> dict[str, Any]:
    from finetune.classification.glue.check import check_glue_folder, check_submission, is_submission
    from finetune.classification.glue.download import choose_tasks, download_tasks

    asked = arguments[DownloadGlueArguments]
    chosen = choose_tasks(asked.tasks)
    if asked.check is None:
        download_tasks(chosen, Path(asked.data_dir), Path(asked.path_to_mrpc) if asked.path_to_mrpc else None)
    path = Path(asked.check or asked.data_dir)
    named = None if asked.tasks == "all" else chosen
    checked = check_submission(path) if is_submission(path) else check_glue_folder(path, named)
    for entry in checked:
        print(entry)
    problems = [problem for entry in checked for problem in entry.problems]
    if problems:
        raise DataError(*problems)
    return {"files": len(checked), "rows": sum(entry.rows for entry in checked)}


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
