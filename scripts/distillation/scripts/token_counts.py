"""Count how often each id occurs in binarized text; distillation predicts rare ones more often.

python scripts/distillation/scripts/token_counts.py --data_file data/dump.bert-base-uncased \\
        --token_counts_dump data/token_counts.bert-base-uncased.json --vocab_size 30522
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.distillation.data_arguments import CountArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", [CountArguments])


def main(arguments: Arguments, _: Run) -> dict[str, Any]:
    from finetune.distillation.binarized import count_tokens, open_binarized, write_counts

    asked = arguments[CountArguments]
    counts = count_tokens(open_binarized(Path(asked.data_file)), asked.vocab_size)
    path = write_counts(Path(asked.token_counts_dump), counts)
    seen = int((counts > 0).sum())
    print(f"{seen:,} of {asked.vocab_size:,} entries occur; their counts are in {path}")
    return {"token_counts": str(path), "tokens": int(counts.sum()), "entries_seen": seen}


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
