"""Turn text into ids once, before distillation: every line a sequence between its special tokens.

    python scripts/distillation/scripts/binarized_data.py --file_path data/dump.txt --tokenizer_type bert \\
        --tokenizer_name bert-base-uncased --dump_file data/dump

The ids go to the folder data/dump.bert-base-uncased, which is mapped into memory when it is read; no pickle.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.distillation.data_arguments import BinarizeArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", [BinarizeArguments])


def main(arguments: Arguments, _: Run) -> dict[str, Any]:
    from finetune.arguments.model import ModelArguments
    from finetune.data.text import find_text_files
    from finetune.distillation.binarized import binarize
    from finetune.tokenization.loading import load_tokenizer
    from finetune.tokenization.training_files import refuse_overwriting

    asked = arguments[BinarizeArguments]
    refuse_overwriting([asked.folder], overwrite=asked.overwrite, flag="--overwrite")
    paths = find_text_files(asked.file_path, ext=asked.ext, flag="--file_path")
    tokenizer = load_tokenizer(ModelArguments(model_name_or_path=asked.tokenizer_name))
    counts = binarize(paths, tokenizer, asked.folder, workers=asked.num_workers)
    print(f"{counts['sequences']:,} sequences of {counts['tokens']:,} ids written to {asked.folder}")
    return {"data_file": str(asked.folder), **counts}


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
