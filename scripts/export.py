"""Export a trained model to ONNX or OpenVINO, compared with the original on texts.

    python export.py outputs/wnut17 --output_dir exported/wnut17
    python export.py outputs/wnut17 --output_dir exported/wnut17-int8 --int8 dynamic --input_file dev.conll

The folder holds the program, tokenizer and settings; predict.py takes it as --model_name_or_path. Floats must give the same
logits; in eight bits the main score on --input_file may fall by half a point at most. docs/export.md tells more.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.exporting.arguments import ExportArguments
from finetune.run.folder import Run
from finetune.run.folders_aside import clear_aside


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", (ExportArguments, RunArguments), positionals=("run",))


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.exporting.task import export_run, find_record, write_record

    folder = Path(arguments[ExportArguments].output_dir)
    clear_aside(folder)
    record = find_record(arguments, folder)
    if record.is_finished():
        run.already_done = True
        return {"output_dir": str(folder), **record.result}
    return export_run(arguments[ExportArguments], partial(write_record, arguments))


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
