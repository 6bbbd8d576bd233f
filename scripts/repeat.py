"""Run a command over several seeds, or over seeds and folds: mean, deviation and interval of every score, of classes too.

    python repeat.py run_ner --output_dir outputs/repeated --seeds 5 --processes 2 \\
        -- --model_name_or_path bert-base-cased --dataset_name wnut17 --do_train --do_eval --do_predict

    python repeat.py run_glue --output_dir outputs/folds --seeds 1 --folds 5 \\
        -- --model_name_or_path bert-base-cased --train_file train.csv --do_train --do_eval

What follows the lone -- goes to every run. With --folds the training file is cut, each part is tested by models of the
others, and suspects.jsonl lists the examples whose label those models doubt most. The same command again skips finished
runs and goes on with interrupted ones. docs/reports.md tells more.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments
from finetune.arguments.run import RunArguments
from finetune.commands import require_command
from finetune.repeat.arguments import RepeatArguments, RepeatParser
from finetune.run.folder import Run


def make_parser() -> RepeatParser:
    return RepeatParser(__doc__ or "", (RepeatArguments, RunArguments), positionals=("command",))


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.repeat.task import run_repeat

    options = arguments[RepeatArguments]
    script = require_command(options.command)
    return run_repeat(script, options, arguments[RunArguments], run.stop)


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
