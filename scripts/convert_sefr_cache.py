"""Turn an old `sefr_cache_tokenizer_dict.pkl` into the JSON that FakeSefrCutTokenizer reads. Nothing in it is run.

python scripts/convert_sefr_cache.py --input_file sefr_cache_tokenizer_dict.pkl \\
        --output_file tokenizers/fake_sefr_cut/sefr_cache_tokenizer_dict.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.tokenizer import SefrCacheArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", [SefrCacheArguments])


def main(arguments: Arguments, _: Run) -> dict[str, Any]:
    from finetune.run.folders_aside import files_written_aside
    from finetune.tokenization.sefr import read_pickled_cache
    from finetune.tokenization.training_files import refuse_overwriting
    from finetune.tokenization.vocabulary import write_segment_cache

    asked = arguments[SefrCacheArguments]
    output = Path(asked.output_file).expanduser()
    refuse_overwriting([output], overwrite=asked.overwrite_output_file)
    cache = read_pickled_cache(Path(asked.input_file).expanduser())
    with files_written_aside(output.parent) as folder:
        write_segment_cache(folder / output.name, cache)
    print(f"{len(cache):,} texts with their segments written to {output}")
    return {"output_file": str(output), "texts": len(cache)}


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
