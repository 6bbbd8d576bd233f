"""Search the hyperparameters of any command that trains, by Optuna; the best is trained again, and tested once.

    python search.py run_ner --output_dir searches/wnut17 --metric f1 --max_trials 20 \\
        --params.learning_rate.values 1e-5 3e-4 --params.learning_rate.suggest_kwargs.log \\
        --params.num_train_epochs.values 2 5 --params.num_train_epochs.type int \\
        -- --model_name_or_path bert-base-cased --dataset_name wnut17 --do_train --do_eval --do_predict

What follows the lone -- goes to every trial, each of which is a run in a folder of its own; trials read no tests. Several
processes search together: each with its own --output_dir, all with the same --study_kwargs.storage (a journal file, or
a database: postgresql://...). The same command again goes on. docs/search.md tells more.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments
from finetune.arguments.run import RunArguments
from finetune.command_search.arguments import CommandSearchArguments, CommandSearchParser
from finetune.commands import require_command
from finetune.run.folder import Run


def make_parser() -> CommandSearchParser:
    return CommandSearchParser(__doc__ or "", (CommandSearchArguments, RunArguments), positionals=("command",))


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.command_search.task import run_command_search

    return run_command_search(require_command(arguments[CommandSearchArguments].command), arguments, run)


if __name__ == "__main__":
    cli.launch(make_parser, main)
