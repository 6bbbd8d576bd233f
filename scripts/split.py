"""Split a corpus into a training file and a validation file, whole documents in each.

One document in a thousand goes to korean/data.txt.valid, the others go to korean/data.txt.train:

    python split.py --data_path=korean/all.txt --base_path=korean/data.txt --ratio=1000

Random documents instead of the first ones, from several files:

    python split.py --data_path 'news/*.txt.gz' --base_path corpus --ratio 20 --shuffle --seed 1

Documents are lines between empty lines; the end of a file ends one too.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.errors import Problem, UsageError
from finetune.pregeneration.arguments import SplitArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", [SplitArguments])


def main(arguments: Arguments, _: Run) -> dict[str, Any]:
    from finetune.data.document_split import split_documents
    from finetune.data.text import find_text_files

    asked = arguments[SplitArguments]
    train, validation = Path(asked.base_path + ".train"), Path(asked.base_path + ".valid")
    existing = [path for path in (train, validation) if path.exists() and not asked.overwrite]
    if existing:
        remedy = "choose another --base_path, or add --overwrite"
        raise UsageError(*(Problem("the file is there already", remedy=remedy, path=path) for path in existing))
    paths = find_text_files(asked.data_path, ext=asked.ext, flag="--data_path")
    train.parent.mkdir(parents=True, exist_ok=True)
    seed = asked.seed if asked.shuffle else None
    counts = split_documents(paths, train, validation, ratio=asked.ratio, shuffle_seed=seed)
    print(f"{train}: {counts.train_documents:,} documents, {counts.train_lines:,} lines")
    print(f"{validation}: {counts.validation_documents:,} documents, {counts.validation_lines:,} lines")
    return asdict(counts)


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
