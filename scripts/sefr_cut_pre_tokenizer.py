"""Segment Thai text files by SEFR CUT, once, for FakeSefrCutTokenizer: `hello world` -> `hello<|><_><|>world`.

    python scripts/sefr_cut_pre_tokenizer.py --input_folder data/train --output_folder data/train-sefr --chunk_size 400

Needs the package sefr_cut (pip install sefr_cut), which brings TensorFlow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.tokenizer import SefrArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", [SefrArguments])


def main(arguments: Arguments, _: Run) -> dict[str, Any]:
    from finetune.data.text import find_text_files
    from finetune.run.workers import usable_cores
    from finetune.tokenization.sefr import mark_file, require_sefr_cut
    from finetune.tokenization.training_files import refuse_overwriting

    asked = arguments[SefrArguments]
    require_sefr_cut()
    sources = find_text_files([asked.input_folder], ext=asked.ext, flag="--input_folder")
    folder = Path(asked.output_folder).expanduser()
    targets = [folder / source.name.removesuffix(".gz") for source in sources]
    refuse_overwriting(targets, overwrite=asked.overwrite, flag="--overwrite")
    folder.mkdir(parents=True, exist_ok=True)
    workers = asked.num_workers or usable_cores()
    lines = 0
    for source, target in zip(sources, targets, strict=True):
        marked = mark_file(source, target, chunk_size=asked.chunk_size, workers=workers)
        print(f"{target}: {marked.lines:,} lines, {marked.unmarked:,} of them unmarked")
        lines += marked.lines
    return {"output_folder": str(folder), "files": len(targets), "lines": lines}


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
