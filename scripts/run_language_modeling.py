"""Train a language model with the flags of transformers 2 to 4: masked with --mlm, causal without.

    python run_language_modeling.py --output_dir ./output --model_type roberta --model_name_or_path ./roberta-base \\
        --do_train --train_data_file=wikitext-2-raw/wiki.train.raw --do_eval --eval_data_file=wikitext-2-raw/wiki.test.raw \\
        --mlm

From scratch, with a configuration and a tokenizer in one folder:

    python run_language_modeling.py --output_dir roberta-base.v1 --model_type roberta --do_train --mlm \\
        --train_data_file=wiki.train.raw --do_eval --eval_data_file=wiki.test.raw --config_name config-roberta-base \\
        --tokenizer_name config-roberta-base --learning_rate 5e-5 --max_steps 1000000 --warmup_steps 10000 \\
        --save_total_limit 2 --save_steps 2000 --per_gpu_train_batch_size 16 --evaluate_during_training --seed 42

Without --line_by_line the text, line ends included, is cut into blocks, each with the tokenizer's special tokens around it.
run_mlm.py and run_clm.py do the same with today's flags.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.groups import TRAINING_GROUPS
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.language_modeling.arguments import (
    LanguageModelArguments,
    MaskingArguments,
    ObjectiveArguments,
    TextArguments,
    check_text,
    resolve_stages,
)
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    groups = (
        LanguageModelArguments,
        TextArguments,
        ObjectiveArguments,
        MaskingArguments,
        *TRAINING_GROUPS,
    )
    return CommandParser(__doc__ or "", groups, training_defaults={}, resolvers=(resolve_stages,), checks=(check_text,))


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.language_modeling import definitions as language_definitions
    from finetune.language_modeling import results as language_results
    from finetune.language_modeling import task as language_modeling
    from finetune.training.building import train

    task = language_modeling.open_task(arguments, language_definitions.define_legacy(arguments))
    if arguments[TextArguments].build_dataset_only:
        return language_modeling.describe_stores(task)
    trainer = language_modeling.build_language_trainer(task, run)
    if arguments[RunArguments].dry_run:
        return language_modeling.show_plan(trainer, task)
    run.record_inputs(task.files.as_dict())
    run.start()
    if arguments.training.get("do_train"):
        train(trainer, run)
        language_modeling.save_language_model(trainer)
    metrics = language_results.score_validation(trainer, task)
    return language_results.write_language_results(run, task, metrics, legacy_file="eval_results_lm.txt")


if __name__ == "__main__":
    cli.launch(make_parser, main)
