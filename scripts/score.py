"""Score texts with any language model, without training: surprisal in bits of every token, word or sentence.

    echo 'The keys to the cabinet are on the table.' | python score.py --model_name_or_path gpt2 --metrics_detail word
    python score.py --model_name_or_path gpt2 --test_file items.txt.gz --output_dir outputs/gpt2-items
    python score.py --model_name_or_path bert-base-cased --masking single --test_file items.txt \
        --metrics_format parquet --output_dir outputs/bert-items
    python score.py --model_name_or_path gpt2 --evaluate blimp --blimp_dir data/blimp --output_dir outputs/gpt2-blimp

Whether the model is causal, masked or sequence-to-sequence is read from its config. Words are corrected for the space that
tokenizers put in front of them (column surprisal_corrected of word tables).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from finetune import cli
from finetune.arguments.engine import EngineArguments
from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.processes import ProcessArguments
from finetune.arguments.run import RunArguments
from finetune.run.folder import Run
from finetune.surprisal.arguments import ScoreArguments


def make_parser() -> CommandParser:
    return CommandParser(
        __doc__ or "", (ModelArguments, ScoreArguments, ProcessArguments, EngineArguments, RunArguments)
    )


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.surprisal.task import run_scoring

    return run_scoring(arguments[ModelArguments], arguments[ScoreArguments], run, arguments[RunArguments])


def names_folder(words: Sequence[str]) -> bool:
    """Whether results go to a folder; without one they are printed, and there is no run to record."""
    return any(word.lstrip("-").replace("-", "_").partition("=")[0] == "output_dir" for word in words)


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=names_folder(sys.argv))
