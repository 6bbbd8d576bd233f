"""Fine-tune and score a tagger (NER, POS, chunks), as transformers' run_ner.py does, both generations of it.

    python run_ner.py --model_name_or_path bert-base-uncased --dataset_name wnut17 \\
        --output_dir outputs/wnut17 --do_train --do_eval --do_predict

    python run_ner.py --model_name_or_path bert-base-cased --output_dir outputs/mine --do_train --do_eval \\
        --train_file train.jsonl --validation_file dev.jsonl --text_column_name tokens --label_column_name tags

    python run_ner.py --data_dir data/ --labels labels.txt --model_name_or_path roberta-base --max_seq_length 180 \\
        --output_dir engeval-model --num_train_epochs 8 --per_gpu_train_batch_size 32 --do_train --do_eval --do_predict

Run the same command again after an interruption: it goes on from the last checkpoint. docs/token_classification.md tells
what is scored, docs/data_formats.md what is read.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.groups import TRAINING_GROUPS
from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.run.folder import Run
from finetune.supervised.arguments import list_scored
from finetune.tagging.arguments import TaggingArguments, TaggingDataArguments, check_tagging


def make_parser() -> CommandParser:
    return CommandParser(
        __doc__ or "",
        (ModelArguments, TaggingDataArguments, TaggingArguments, *TRAINING_GROUPS),
        training_defaults={},
        checks=(check_tagging,),
    )


def main(arguments: Arguments, run: Run) -> dict[str, Any]:

    from finetune.supervised.training import build_supervised_trainer, save_supervised, show_estimate
    from finetune.tagging import results as tagging_results
    from finetune.tagging import task as tagging
    from finetune.training.building import train

    task = tagging.open_task(arguments)
    trainer = build_supervised_trainer(task, run)
    if arguments[RunArguments].dry_run:
        return show_estimate(trainer, task)
    run.record_inputs(task.corpus.files)
    run.start()
    if arguments.training.get("do_train"):
        train(trainer, run)
        save_supervised(trainer, task)
    wanted = list_scored(arguments)
    results = tagging_results.score_splits(trainer, task, wanted)
    tagging_results.write_legacy_results(run, task, results, trainer)
    return tagging_results.write_tagging_results(run, task, results)


if __name__ == "__main__":
    cli.launch(make_parser, main)
