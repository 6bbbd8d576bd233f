"""Fine-tune a pretrained Thai (or any other) encoder to tag words, as thai2transformers does.

    cd scripts/downstream
    CUDA_VISIBLE_DEVICES=1,2 python train_token_classification_lm_finetuning.py \\
        --tokenizer_type CamembertTokenizer \\
        --tokenizer_name_or_path checkpoints/roberthai-95g-spm/tokenizer_folder \\
        --model_name_or_path checkpoints/roberthai-95g-spm/model/checkpoint-320000 \\
        --dataset_name thainer --label_name ner_tags \\
        --per_device_train_batch_size 16 --per_device_eval_batch_size 16 \\
        --learning_rate 5e-5 --warmup_steps 100 --logging_steps 50 --eval_steps 250 --max_steps 1000 \\
        --evaluation_strategy steps --output_dir checkpoints/finetuned/thainer/ner/v1 \\
        --do_train --do_eval --max_length 510 --fp16 --space_token "<_>" --lowercase

Labels stand on every subword of a word. After training, the best checkpoint by validation loss is scored on train,
validation and test, by words. docs/token_classification.md tells where the published document and script disagreed.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.fields import with_defaults
from finetune.arguments.groups import TRAINING_GROUPS
from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.run.folder import Run
from finetune.tagging.arguments import TaggingArguments, TaggingDataArguments, check_tagging


def make_parser() -> CommandParser:
    habits = with_defaults(TaggingArguments, label_all_tokens=True, continue_labels=False, space_token="<_>")
    return CommandParser(
        __doc__ or "",
        (ModelArguments, TaggingDataArguments, habits, *TRAINING_GROUPS),
        training_defaults={"metric_for_best_model": "loss"},  # as documented
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
    results = tagging_results.score_splits(trainer, task, tagging.reported_splits(task))
    return tagging_results.write_tagging_results(run, task, results)


if __name__ == "__main__":
    cli.launch(make_parser, main)
