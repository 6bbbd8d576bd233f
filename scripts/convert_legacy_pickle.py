"""Turn an old pickle of the DistilBERT scripts into what train.py reads. Nothing in it is run.

    python scripts/convert_legacy_pickle.py --input_file data/dump.bert-base-uncased.pickle
    python scripts/convert_legacy_pickle.py --input_file data/token_counts.bert-base-uncased.pickle

Binarized text becomes the folder data/dump.bert-base-uncased, counts become a JSON file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.distillation.data_arguments import ConvertArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", [ConvertArguments])


def main(arguments: Arguments, _: Run) -> dict[str, Any]:
    from finetune.distillation.binarized import convert_pickle
    from finetune.tokenization.training_files import refuse_overwriting

    asked = arguments[ConvertArguments]
    source, target = Path(asked.input_file), Path(asked.output_file) if asked.output_file else None
    targets = [target] if target else [source.with_suffix(""), source.with_suffix(".json")]
    refuse_overwriting(targets, overwrite=asked.overwrite_output_file)
    facts = convert_pickle(source, target)
    print(f"{facts['output_file']} written")
    return facts


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
