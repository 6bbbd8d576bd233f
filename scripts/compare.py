"""Compare runs on the same test data: what differs in arguments, data and scores, and whether it is more than chance.

    python compare.py outputs/base outputs/longer outputs/wider --output_dir outputs/comparison

Every run is compared with the first, on the predictions that both saved: approximate randomisation or the paired bootstrap,
with Holm's correction over all tests. The table is printed; with --output_dir it is also written as a page, as Markdown and
as JSON, with the examples that changed. docs/reports.md tells more.
"""

from __future__ import annotations

from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments
from finetune.arguments.run import RunArguments
from finetune.comparison.arguments import CompareArguments, CompareParser
from finetune.run.folder import Run


def make_parser() -> CompareParser:
    return CompareParser(__doc__ or "", (CompareArguments, RunArguments))


def main(arguments: Arguments, run: Run) -> dict[str, Any]:  # noqa: ARG001
    from finetune.comparison.task import compare_runs

    return compare_runs(arguments[CompareArguments])


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
