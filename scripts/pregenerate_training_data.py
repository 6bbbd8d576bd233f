"""Make BERT's training data (next sentences and masked subwords) for several epochs from a corpus of documents.

    python pregenerate_training_data.py --train_corpus dev_corpus.txt --bert_model bert-base-uncased --do_lower_case \\
        --output_dir dev_corpus_prepared/ --epochs_to_generate 2 --max_seq_len 256

A corpus larger than memory, whole words, two processes (--nproc 2 is another way to have them, and torchrun, on several
machines with a folder that all see):

    python pregenerate_training_data.py --train_corpus 'reviews/*.txt.gz' --bert_model models/bert --output_dir prepared/ \\
        --do_whole_word_mask --reduce_memory --num_workers 2

The corpus has one sentence a line and an empty line between documents. The same seed gives the same data for any number of
workers. Killed, the same command goes on where it was. docs/pregeneration.md describes the files;
finetune_on_pregenerated.py trains on them.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.engine import EngineArguments
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.processes import ProcessArguments
from finetune.arguments.run import RunArguments
from finetune.pregeneration.arguments import PregenerationArguments
from finetune.run.folder import Run
from finetune.run.sharing import Shares, open_shares


def make_parser() -> CommandParser:
    groups = (PregenerationArguments, ProcessArguments, EngineArguments, RunArguments)
    return CommandParser(__doc__ or "", groups)


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.pregeneration.pregenerate import pregenerate
    from finetune.pregeneration.task import open_pregeneration, show_plan

    task, tokenizer = open_pregeneration(arguments[PregenerationArguments])
    if arguments[RunArguments].dry_run:
        return show_plan(task, tokenizer)
    run.record_inputs(task.paths)
    run.start()
    with open_shares(task.output_dir / "epochs") as shares:
        counts = pregenerate(
            task, tokenizer, shares if isinstance(shares, Shares) else None
        )  # an engine comes by itself
    print(f"{counts['sentences']:,} sentences of {counts['documents']:,} documents")
    for epoch, instances in enumerate(counts["instances"]):
        print(f"epoch {epoch}: {instances:,} instances")
    return {name: counts[name] for name in ("documents", "sentences", "instances")}


if __name__ == "__main__":
    cli.launch(make_parser, main)
