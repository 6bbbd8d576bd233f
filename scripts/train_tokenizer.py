"""Train a tokenizer on text files: Thai words or syllables, SentencePiece, byte-level BPE or WordPiece.

Thai words that occur at least 4 times (any number of files, plain or gzipped):

    python scripts/train_tokenizer.py --ext txt --train_dir data/train --pre_tokenizer_type newmm \\
        --output_file tokenizers/newmm/newmm.json --overwrite_output_file --vocab_min_freq 4

A SentencePiece model for ThaiRobertaTokenizer, or for CamembertTokenizer:

    python scripts/train_tokenizer.py --train_dir data/train --pre_tokenizer_type spm --vocab_size 24000 \\
        --output_file tokenizers/spm/sentencepiece.bpe.model
    python scripts/train_tokenizer.py --train_dir data/train --pre_tokenizer_type spm --vocab_size 25000 \\
        --tokenizer_type CamembertTokenizer --lowercase --output_file tokenizers/spm-camembert/sentencepiece.bpe.model

Byte-level BPE as RoBERTa has it, WordPiece as BERT has it:

    python scripts/train_tokenizer.py --train_dir 'data/*.txt.gz' --pre_tokenizer_type bpe --output_file tok/vocab.json
    python scripts/train_tokenizer.py --train_dir data --pre_tokenizer_type wordpiece --output_file tok/vocab.txt
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.tokenizer import SentencePieceArguments, TokenizerTrainingArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(
        __doc__ or "",
        [TokenizerTrainingArguments, SentencePieceArguments],
        legacy=TokenizerTrainingArguments.OLD_FLAGS,
    )


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.tokenization.training import find_record, train_tokenizer

    asked, record = arguments[TokenizerTrainingArguments], find_record(arguments)
    if not asked.overwrite_output_file and record.is_finished():
        run.already_done = True
        return record.result
    trained = train_tokenizer(asked, arguments[SentencePieceArguments], record)
    print(f"{trained.vocab_size:,} entries written to {', '.join(str(file) for file in trained.files)}")
    return trained.facts()


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
