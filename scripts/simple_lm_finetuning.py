"""Fine-tune BERT on a corpus the quick way: instances of just two sentences, prepared and trained on in one go.

    python simple_lm_finetuning.py --train_corpus my_corpus.txt --bert_model bert-base-uncased --do_lower_case \\
        --output_dir finetuned_lm/ --do_train

Two sentences are much shorter than --max_seq_length, so for text in documents the way of the BERT paper is better:
pregenerate_training_data.py, then finetune_on_pregenerated.py. The corpus has one sentence a line and an empty line between
documents.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.groups import TRAINING_GROUPS
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.pregeneration.training_arguments import (
    TRAINING_DEFAULTS,
    PretrainingArguments,
    SimpleTextArguments,
    check_batches,
    resolve_batches,
)
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(
        __doc__ or "",
        (SimpleTextArguments, PretrainingArguments, *TRAINING_GROUPS),
        training_defaults=TRAINING_DEFAULTS,
        resolvers=(resolve_batches,),
        checks=(check_batches,),
    )


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.pregeneration import training as pregenerated_training
    from finetune.run.folders_aside import temporary_folder
    from finetune.training.building import train

    with temporary_folder("finetune-sentences-") as temporary:
        length = arguments[SimpleTextArguments].max_seq_length
        task = pregenerated_training.open_task(arguments, max_seq_len=length)
        paths = pregenerated_training.prepare_two_sentences(task, temporary)
        trainer = pregenerated_training.build_pretraining_trainer(task, run)
        if arguments[RunArguments].dry_run:
            return pregenerated_training.show_plan(trainer, task)
        run.record_inputs(paths)
        run.start()
        train(trainer, run)
    return pregenerated_training.write_results(run, task, trainer)


if __name__ == "__main__":
    cli.launch(make_parser, main)
