"""Run any command over a grid of values: by local processes, or as a Slurm array.

    python sweep.py run_ner --output_dir sweeps/wnut17 --grid learning_rate=1e-5,3e-5 seed=1,2,3 --processes 2 \\
        -- --model_name_or_path bert-base-cased --dataset_name wnut17 --do_train --do_eval

    python sweep.py finetune_lm --output_dir sweeps/verbs --grid_file grid.yaml --slurm --slurm_options gres=gpu:1 \\
        time=04:00:00 -- --model_name_or_path gpt2 --train_file verbs.txt.gz --validation_file dev.txt.gz
    sbatch sweeps/verbs/sweep.sbatch

What follows the lone -- goes to every run; each run gets its own folder in --output_dir. Every command line is checked
before the first run is started. The same command again skips finished runs and goes on with interrupted ones.
sweep_results.csv has a row a run with its metrics on validation data; tests choose nothing. docs/search.md tells more.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments
from finetune.arguments.run import RunArguments
from finetune.commands import require_command
from finetune.run.folder import Run
from finetune.sweep.arguments import SweepArguments, SweepParser


def make_parser() -> SweepParser:
    return SweepParser(__doc__ or "", (SweepArguments, RunArguments), positionals=("command",))


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.sweep.task import run_sweep

    options = arguments[SweepArguments]
    script = require_command(options.command)
    return run_sweep(script, options, arguments[RunArguments], run.stop)


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
