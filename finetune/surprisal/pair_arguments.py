"""Minimal pairs on a command line: which evaluation, which files, and which of their columns hold the two texts."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.arguments.fields import argument
from finetune.errors import Problem

EVALUATIONS = ("blimp", "minimal_pairs")
GOOD, BAD = "sentence_good", "sentence_bad"


@dataclass
class PairArguments:
    """Minimal pairs."""

    evaluate: str | None = argument(
        None, choices=EVALUATIONS, help="a ready evaluation: BLiMP, or minimal pairs of any other benchmark"
    )
    blimp_dir: str | None = argument(None, metavar="FOLDER", help="the .jsonl(.gz) files of BLiMP, one a paradigm")
    pairs_file: list[str] | None = argument(
        None,
        metavar="FILE",
        help="files of minimal pairs, two texts a row: .jsonl, .json, .csv, .tsv (also .gz), .parquet; several or patterns",
    )
    good_column: str = argument(GOOD, metavar="NAME", help="column of the acceptable text of a pair")
    bad_column: str = argument(BAD, metavar="NAME", help="column of the other text of a pair")
    group_columns: list[str] | None = argument(
        None, metavar="NAME", help="columns that accuracy is given for value by value, beside that of each file"
    )

    def pair_problems(self) -> list[Problem]:
        found = []
        for name, flag, given in (
            ("blimp", "blimp_dir", self.blimp_dir),
            ("minimal_pairs", "pairs_file", self.pairs_file),
        ):
            if self.evaluate == name and not given:
                found.append(Problem(f"--evaluate {name} needs the data", remedy=f"give --{flag}"))
            if given and self.evaluate != name:
                found.append(Problem(f"--{flag} is given, but not --evaluate {name}"))
        if self.good_column == self.bad_column:
            found.append(Problem(f"--good_column and --bad_column are both {self.good_column!r}"))
        if self.group_columns and self.evaluate != "minimal_pairs":
            found.append(Problem("--group_columns is given, but not --evaluate minimal_pairs"))
        return found
