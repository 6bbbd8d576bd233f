"""Fine-tune a pretrained Thai (or any other) encoder to classify texts, as thai2transformers does.

    cd scripts/downstream
    python train_sequence_classification_lm_finetuning.py xlmr wisesight_sentiment outputs/wisesight logs/wisesight \\
        --batch_size 16 --learning_rate 3e-5 --num_train_epochs 3 --warmup_ratio 0.1 --max_length 416

    python train_sequence_classification_lm_finetuning.py spm_camembert wongnai_reviews outputs/wongnai logs/wongnai \\
        --tokenizer_dir roberthai-95g-spm/tokenizer --model_dir roberthai-95g-spm/checkpoint-320000 \\
        --space_token "<_>" --prepare_for_tokenization --fp16

    python train_sequence_classification_lm_finetuning.py mbert --output_dir outputs/mine \\
        --train_file train.jsonl --test_file test.jsonl --text_column text --label_column labels

Texts are cleaned by the rules of thai2transformers first (--no_cleaning leaves them alone). The best checkpoint by
--metric_for_best_model on validation is scored on test; multi-label thresholds come from validation too.
docs/classification.md tells what is read, scored and written.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.fields import with_defaults
from finetune.arguments.groups import TRAINING_GROUPS
from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.arguments.training_table import TrainingValues
from finetune.classification.arguments import (
    ClassificationArguments,
    ClassificationDataArguments,
    ColumnArguments,
    check_classification,
)
from finetune.classification.thai_arguments import ThaiTextArguments, check_thai_texts, resolve_thai_texts
from finetune.run.folder import Run
from finetune.supervised.arguments import list_scored

# What thai2transformers sets; wongnai_reviews is split with --seed, so 2020 gives the published split.
HABITS: TrainingValues = {
    "do_train": True,
    "do_eval": True,
    "do_predict": True,
    "num_train_epochs": 5.0,
    "learning_rate": 1e-5,
    "weight_decay": 0.01,
    "warmup_steps": 0.1,
    "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 16,
    "logging_steps": 10,
    "seed": 2020,
}


def make_parser() -> CommandParser:
    return CommandParser(
        __doc__ or "",
        (
            ThaiTextArguments,
            with_defaults(ModelArguments, model_name_or_path=None),
            ClassificationDataArguments,
            ColumnArguments,
            ClassificationArguments,
            *TRAINING_GROUPS,
        ),
        training_defaults=HABITS,
        positionals=("tokenizer_type_or_public_model_name", "dataset_name", "output_dir", "log_dir"),
        resolvers=(resolve_thai_texts,),
        checks=(check_thai_texts, check_classification),
    )


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.classification import results as classification_results
    from finetune.classification import task as classification
    from finetune.classification import thai_texts
    from finetune.supervised.training import build_supervised_trainer, save_supervised, show_estimate
    from finetune.training.building import train

    task = classification.open_task(arguments, thai_texts.define_task(arguments))
    trainer = build_supervised_trainer(task, run)
    thai_texts.log_plan(task, trainer)
    if arguments[RunArguments].dry_run:
        return show_estimate(trainer, task)
    run.record_inputs(task.corpus.files)
    run.start()
    if arguments.training.get("do_train"):
        train(trainer, run)
    outputs = classification_results.SplitOutputs(trainer, task)
    decision = classification_results.fit_on_validation(outputs, task)
    if arguments.training.get("do_train"):
        save_supervised(trainer, task, classification_results.add_decision(task.settings, decision))
        thai_texts.keep_best(run)
    results = classification_results.score_splits(outputs, task, decision, list_scored(arguments))
    thai_texts.print_test_scores(task, results)
    return classification_results.write_classification_results(run, task, results)


if __name__ == "__main__":
    cli.launch(make_parser, main)
