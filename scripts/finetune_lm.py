"""Fine-tune a causal, masked or sequence-to-sequence model on texts; surprisals of every token before and after.

    python finetune_lm.py --model_name_or_path gpt2 --train_file data/verbs.txt.gz \\
        --validation_file data/verbs-dev.txt.gz --test_file data/items-a.txt.gz data/items-b.txt.gz \\
        --epochs 20 --patience 5 --train_optimizer_kwargs.lr 2e-5 --use_gpu

    python finetune_lm.py --model_name_or_path bert-base-uncased --train_file data/verbs.txt.gz \\
        --validation_file data/verbs-dev.txt.gz --data_preprocessing_fn mask_random_tokens \\
        --data_preprocessing_fn_strategy.train per_batch --loss_classes.train OutputsDefaultLoss KLBaselineLoss \\
        --loss_classes_kwargs.train.KLBaselineLoss.dataset data/wiki.txt.gz

    python finetune_lm.py --model_name_or_path gpt2 --train_file data/verbs.txt.gz \\
        --validation_file data/verbs-dev.txt.gz --patience 30 --do_optimize --max_trials 50 \\
        --params.lr.values 1e-6 1e-4 --params.lr.suggest_kwargs.log --output_dir outputs/verbs-search

    python finetune_lm.py --model_name_or_path gpt2 --test_file data/items-a.txt.gz --evaluate blimp --blimp_dir blimp

Arguments are dictionaries where a dot is in a name (docs/dotted_arguments.md); docs/finetune_lm.md tells what each does and
what is written. Run the same command again after an interruption: it goes on from the last checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finetune import cli
from finetune.arguments.groups import ADAPTING_GROUPS
from finetune.arguments.parser import Arguments
from finetune.arguments.processes import ProcessArguments
from finetune.arguments.run import RunArguments
from finetune.arguments.unattended import UnattendedArguments
from finetune.lm_experiments.arguments import ExperimentArguments, ExperimentModelArguments, ExperimentTextArguments
from finetune.lm_experiments.default_folder import (
    FOLDER_OF_LAUNCH,
    NOW,
    find_folder_of_launch,
    find_test_folder,
    find_training_folder,
    time_stamp,
)
from finetune.lm_experiments.dotted import DottedArguments, DottedParser
from finetune.lm_experiments.result_arguments import ExperimentResultArguments
from finetune.run.folder import Run
from finetune.search.arguments import OptimizationArguments
from finetune.search.space import check_search

GROUPS = (
    *(ExperimentModelArguments, ExperimentTextArguments, ExperimentArguments, ExperimentResultArguments),
    *(OptimizationArguments, *ADAPTING_GROUPS, UnattendedArguments, ProcessArguments, RunArguments),
)


class ExperimentParser(DottedParser):
    """The dotted command line; an output folder that was not named is named after files, model and time."""

    def parse(self, argv: Sequence[str]) -> DottedArguments:
        arguments = super().parse(argv)
        results = arguments[ExperimentResultArguments]
        if results.output_dir and NOW not in results.output_dir:
            return arguments
        results.output_dir = find_folder_of_launch() or self._name_folder(arguments)
        arguments.environment[FOLDER_OF_LAUNCH] = results.output_dir
        return arguments

    def _name_folder(self, arguments: DottedArguments) -> str:
        if asked := arguments[ExperimentResultArguments].output_dir:
            return asked.replace(NOW, time_stamp())
        model, train = (
            arguments[ExperimentModelArguments].model_name_or_path,
            arguments[ExperimentTextArguments].train_file,
        )
        known = (arguments.effective(), arguments.typed)
        return str(find_training_folder(train, model, *known) if train else find_test_folder(model, *known))


def make_parser() -> DottedParser:
    return ExperimentParser(__doc__ or "", GROUPS, checks=(check_search,))


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    arguments[ExperimentTextArguments].require_files()
    if arguments[OptimizationArguments].do_optimize:
        from finetune.search.task import run_search

        return run_search(arguments, run)
    from finetune.lm_experiments.task import run_experiment

    return run_experiment(arguments, run)


if __name__ == "__main__":
    cli.launch(make_parser, main)
