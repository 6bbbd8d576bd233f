"""Train a causal language model, further or from scratch, as transformers' run_clm.py does; no text is lost.

    python run_clm.py --model_name_or_path gpt2 --train_file train.txt --validation_file dev.txt --do_train --do_eval \\
        --per_device_train_batch_size 8 --output_dir outputs/gpt2-mine

Documents that do not see each other, from scratch:

    python run_clm.py --model_type gpt2 --config_overrides n_embd=256,n_layer=4,n_head=4 --tokenizer_name gpt2 \\
        --train_file 'news/*.txt.gz' --document_attention --block_size 512 --do_train --do_eval --output_dir outputs/small

The text is one stream, line ends included, cut into blocks of --block_size; the tail is a shorter block. docs/corpus.md
tells more.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.engine import EngineArguments
from finetune.arguments.groups import TRAINING_GROUPS
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.language_modeling.arguments import (
    CausalArguments,
    LanguageModelArguments,
    TextArguments,
    check_text,
    resolve_stages,
)
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(
        __doc__ or "",
        (LanguageModelArguments, TextArguments, CausalArguments, EngineArguments, *TRAINING_GROUPS),
        training_defaults={},
        resolvers=(resolve_stages,),
        checks=(check_text,),
    )


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.language_modeling import definitions as language_definitions
    from finetune.language_modeling import results as language_results
    from finetune.language_modeling import task as language_modeling
    from finetune.training.building import train

    task = language_modeling.open_task(arguments, language_definitions.define_causal(arguments))
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
    return language_results.write_language_results(run, task, metrics)


if __name__ == "__main__":
    cli.launch(make_parser, main)
