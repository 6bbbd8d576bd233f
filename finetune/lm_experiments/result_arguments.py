"""What fine-tuning for surprisals writes, and where; ready evaluations."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.arguments.fields import argument
from finetune.errors import Problem
from finetune.surprisal.arguments import TABLE_DETAILS, TABLE_FORMATS
from finetune.surprisal.pair_arguments import PairArguments


@dataclass
class ExperimentResultArguments(PairArguments):
    """Results."""

    output_dir: str | None = argument(
        None,
        metavar="FOLDER",
        help="folder for the results, {now} in it is the time; without it outputs/TRAIN_FILE/MODEL/TIME, or "
        "outputs/test_only/MODEL without training",
    )
    test_output_file_prefix: str | None = argument(
        None, metavar="NAME", help="tests are written to NAME-test_results; without it the model's name"
    )
    metrics_format: str = argument("csv", choices=TABLE_FORMATS, help="csv is csv.gz; parquet is 20 times faster")
    metrics_detail: str = argument(
        "token", choices=TABLE_DETAILS, help="what has a row in the tables of training and of tests; none: no tables"
    )
    save_tmp_test_files: bool = argument(
        False, help="keep the scores of each batch of a test, so that an interrupted test goes on where it was"
    )

    def problems(self) -> list[Problem]:
        found = self.pair_problems()
        if self.test_output_file_prefix and "/" in self.test_output_file_prefix:
            found.append(Problem(f"--test_output_file_prefix {self.test_output_file_prefix} holds a slash"))
        return found
