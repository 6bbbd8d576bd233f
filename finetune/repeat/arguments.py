"""Arguments of `finetune repeat`: which command, over how many seeds and folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from finetune.arguments.fields import argument
from finetune.arguments.parser import Arguments, CommandParser
from finetune.errors import Problem
from finetune.sweep.arguments import split_at_runs


@dataclass
class RepeatArguments:
    """Repetition."""

    command: str = argument(help="a command of ours that trains a tagger or a classifier, as run_ner")
    output_dir: str = argument(metavar="FOLDER", help="each run gets a folder in it, named by its seed and fold")
    seeds: int = argument(5, minimum=1, help="how many seeds: first_seed and those after it")
    first_seed: int = argument(1, minimum=0, help="the first seed")
    folds: int | None = argument(
        None,
        minimum=2,
        help="cut --train_file into so many parts, and test each by models of the others; writes suspects.jsonl",
    )
    fold_seed: int = argument(0, minimum=0, help="of the cut into folds")
    processes: int = argument(1, minimum=1, help="runs at once")
    words: list[str] = field(init=False, default_factory=list)

    def problems(self) -> list[Problem]:
        if self.seeds == 1 and not self.folds:
            return [Problem("one seed without folds is no repetition", remedy="give --seeds 2 or more, or --folds")]
        return []


class RepeatParser(CommandParser):
    """The words after a lone `--` are those of the command."""

    def parse(self, argv: Sequence[str]) -> Arguments:
        own, of_runs = split_at_runs(argv)
        arguments = super().parse(own)
        arguments.argv = tuple(argv)
        arguments[RepeatArguments].words = of_runs
        return arguments
