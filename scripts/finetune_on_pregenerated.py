"""Fine-tune BERT on data of pregenerate_training_data.py: masked subwords and next sentences.

    python finetune_on_pregenerated.py --pregenerated_data dev_corpus_prepared/ --bert_model bert-base-uncased \\
        --do_lower_case --output_dir dev_corpus_finetuned/ --epochs 2 --train_batch_size 16

Both formats of data are read. The length of instances is in the data; the model and --do_lower_case must be those that it
was made with. Mean losses go to losses_50_steps.txt. Run the same command again after an interruption: it goes on from the
last checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune import cli
from finetune.arguments.groups import TRAINING_GROUPS
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.pregeneration.training_arguments import (
    TRAINING_DEFAULTS,
    PregeneratedDataArguments,
    PretrainingArguments,
    check_batches,
    resolve_batches,
    resolve_epochs,
)
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(
        __doc__ or "",
        (PregeneratedDataArguments, PretrainingArguments, *TRAINING_GROUPS),
        training_defaults=TRAINING_DEFAULTS,
        resolvers=(resolve_batches, resolve_epochs),
        checks=(check_batches,),
    )


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.pregeneration import training as pregenerated_training
    from finetune.pregeneration.epochs import find_epoch_files
    from finetune.run.folders_aside import temporary_folder
    from finetune.training.building import train

    data, reduce_memory = arguments[PregeneratedDataArguments], arguments[PretrainingArguments].reduce_memory
    folder = Path(data.pregenerated_data)
    with temporary_folder("finetune-epochs-") as temporary:
        task = pregenerated_training.open_task(arguments)
        work = temporary if reduce_memory else None
        pregenerated_training.open_data(task, folder, epochs=data.epochs, work=work)
        trainer = pregenerated_training.build_pretraining_trainer(task, run)
        if arguments[RunArguments].dry_run:
            return pregenerated_training.show_plan(trainer, task)
        run.record_inputs(find_epoch_files(folder, data.epochs))
        run.start()
        train(trainer, run)
    return pregenerated_training.write_results(run, task, trainer)


if __name__ == "__main__":
    cli.launch(make_parser, main)
