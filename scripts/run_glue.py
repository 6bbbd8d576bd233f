"""Fine-tune and score a classifier of texts or pairs: GLUE, aspect sentiment, and any data, as run_glue.py does.

    python run_glue.py --model_name_or_path bert-base-uncased --task_name sst2 --do_train --do_eval --do_predict \\
        --data_dir glue_data --max_seq_length 128 --per_device_train_batch_size 32 --learning_rate 2e-5 \\
        --num_train_epochs 3 --output_dir wdir/sst2

    python run_glue.py --model_name_or_path ../data/models/restaurants_10mio_ep3 --task_name semeval2014-atsc \\
        --data_dir ../data/transformed/restaurants_noconfl --do_train --do_eval --evaluate_during_training \\
        --max_steps 800 --warmup_steps 120 --learning_rate 3e-5 --output_dir ../data/models/atsc-restaurants

    python run_glue.py --model_name_or_path bert-base-uncased --do_train --do_eval --output_dir outputs/mine \\
        --train_file train.csv --validation_file dev.csv --text_column title --label_column topic

Without --data_dir GLUE comes from $FINETUNE_DATA_DIR/glue or the hub. Run the same command again after an interruption: it
goes on from the last checkpoint. docs/classification.md tells what is read, scored and written.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.groups import TRAINING_GROUPS
from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.classification.arguments import (
    ClassificationArguments,
    ClassificationDataArguments,
    ColumnArguments,
    RowTargetArguments,
    check_classification,
)
from finetune.classification.glue.arguments import GlueArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(
        __doc__ or "",
        (
            ModelArguments,
            GlueArguments,
            ClassificationDataArguments,
            ColumnArguments,
            RowTargetArguments,
            ClassificationArguments,
            *TRAINING_GROUPS,
        ),
        training_defaults={},
        checks=(check_classification,),
    )


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.classification import results as classification_results
    from finetune.classification import task as classification
    from finetune.classification.glue import task as glue
    from finetune.supervised.training import build_supervised_trainer, save_supervised, show_estimate
    from finetune.training.building import train

    task = classification.open_task(arguments, glue.define_task(arguments))
    trainer = build_supervised_trainer(task, run)
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
    results = classification_results.score_splits(outputs, task, decision, glue.reported_splits(task))
    glue.write_glue_results(run, task, results, trainer)
    return classification_results.write_classification_results(run, task, results)


if __name__ == "__main__":
    cli.launch(make_parser, main)
