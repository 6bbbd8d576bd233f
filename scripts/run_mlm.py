"""Train a masked language model, from scratch or further, as transformers' and thai2transformers' run_mlm.py do.

From scratch on raw Thai text, as thai2transformers documents it (`--build_dataset_only` stops once it is tokenized):

    python run_mlm.py --architecture roberta-base --tokenizer_name_or_path tokenizers/newmm/newmm.json \\
        --tokenizer_type newmm --ext txt --train_dir data/train --eval_dir data/val --max_seq_length 416 \\
        --datasets_type MemmapConcatFullSentenceTextDataset --datasets_cache_dir cache --add_space_token \\
        --learning_rate 6e-4 --weight_decay 0.01 --adam_beta2 0.98 --adam_epsilon 1e-6 --max_steps 500000 \\
        --per_device_train_batch_size 32 --gradient_accumulation_steps 16 --warmup_steps 24000 --fp16 \\
        --save_steps 1000 --eval_steps 1000 --evaluation_strategy steps --output_dir checkpoints/roberta

Further on text of your own, whole words, one example a line:

    python run_mlm.py --model_name_or_path bert-base-uncased --train_file 'reviews/*.txt.gz' --validation_file dev.txt \\
        --line_by_line --whole_word_mask --do_train --do_eval --output_dir adapted

Text larger than memory is tokenized once, in parallel, and found again. Run the same command again after an interruption: it
goes on from the last checkpoint. docs/corpus.md tells how text becomes examples.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.engine import EngineArguments
from finetune.arguments.groups import TRAINING_GROUPS
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.language_modeling.arguments import (
    LanguageModelArguments,
    MaskingArguments,
    TextArguments,
    check_text,
    resolve_stages,
)
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(
        __doc__ or "",
        (LanguageModelArguments, TextArguments, MaskingArguments, EngineArguments, *TRAINING_GROUPS),
        training_defaults={},
        resolvers=(resolve_stages,),
        checks=(check_text,),
    )


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.language_modeling import definitions as language_definitions
    from finetune.language_modeling import results as language_results
    from finetune.language_modeling import task as language_modeling
    from finetune.training.building import train

    task = language_modeling.open_task(arguments, language_definitions.define_masked(arguments))
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
