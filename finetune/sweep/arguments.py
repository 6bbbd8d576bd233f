"""Arguments of a sweep: which command, over which grid, where and how its runs are started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from finetune.arguments.fields import argument
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.secrets import find_in_words, remember_secrets
from finetune.errors import Problem

RUNS = "--"  # what follows it are arguments of every run


@dataclass
class SweepArguments:
    """Sweep."""

    command: str = argument(help="a command of ours, as run_ner or scripts/run_ner.py")
    output_dir: str = argument(metavar="FOLDER", help="each run gets a folder in it, named by its values")
    grid: list[str] = argument([], metavar="FIELD=A,B,C", help="values that a flag takes in turn; several: every pair")
    grid_file: str | None = argument(
        None, metavar="FILE", help="YAML or JSON: flags with lists of values; one value is for every run"
    )
    processes: int = argument(1, minimum=1, help="runs at once; with --slurm: tasks of the array at once, if above 1")
    slurm: bool = argument(False, help="start nothing: write a Slurm array script and the list of commands")
    slurm_options: list[str] = argument([], metavar="OPTION", help="for #SBATCH lines: gres=gpu:1 time=01:00:00")
    runs_per_task: int | None = argument(
        None, minimum=1, help="runs that a task of the array does in turn; without it as few as 1,000 tasks allow"
    )
    collect: bool = argument(False, help="start nothing: write the table of the runs that are there")
    sort_by: str | None = argument(
        None, metavar="METRIC", help="a validation metric of the table: the best first (lowest for losses)"
    )
    words: list[str] = field(init=False, default_factory=list)

    def problems(self) -> list[Problem]:
        found: list[Problem | None] = []
        if self.slurm and self.collect:
            found.append(Problem("--slurm and --collect contradict each other", remedy="keep one of them"))
        if self.slurm_options and not self.slurm:
            found.append(Problem("--slurm_options are given, but not --slurm"))
        if self.slurm:
            found += [*map(_check_line, self.slurm_options), _check_line(self.output_dir, "--output_dir")]
        return [problem for problem in found if problem is not None]


def _check_line(text: str, flag: str = "--slurm_options") -> Problem | None:
    """A line of the script is one line: what follows a line end would be a command of its own."""
    if text.isprintable():
        return None
    return Problem(f"{flag} {text!r} holds a line end or another control character", remedy="take it out")


def split_at_runs(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of a command that starts others, and those behind the lone `--`, which are theirs; secrets are known."""
    words = list(argv)
    remember_secrets(find_in_words(words))
    cut = words.index(RUNS) if RUNS in words else len(words)
    return words[:cut], words[cut + 1 :]


class SweepParser(CommandParser):
    """The words after a lone `--` are those of the command."""

    def parse(self, argv: Sequence[str]) -> Arguments:
        own, of_runs = split_at_runs(argv)
        arguments = super().parse(own)
        arguments.argv = tuple(argv)
        arguments[SweepArguments].words = of_runs
        return arguments
