"""Train one of the four classic tokenizers of the `tokenizers` library and write NAME-vocab.json and NAME-merges.txt.

    python scripts/train-roberta-tokenizer.py --data_dir wikitext-2-raw --file_suffix raw --vocab_size 50265 \\
        --min_frequency 2 --tokenizer_name ByteLevelBPETokenizer

The folder is searched with its subfolders; files with `cached` in their name are passed over. Ids 0 to 4 are
`<s> <pad> </s> <unk> <mask>`. BertWordPieceTokenizer, the default, writes NAME-vocab.txt, one subword a line.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.tokenizer import RobertaTokenizerArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", [RobertaTokenizerArguments])


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.tokenization.training import find_roberta_record, train_roberta_tokenizer

    asked, record = arguments[RobertaTokenizerArguments], find_roberta_record(arguments)
    if not asked.overwrite_output_file and record.is_finished():
        run.already_done = True
        return record.result
    trained = train_roberta_tokenizer(asked, record)
    print(f"{trained.vocab_size:,} entries written to {', '.join(str(file) for file in trained.files)}")
    return trained.facts()


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
