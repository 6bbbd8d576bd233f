"""SemEval-2014 Task 4 files -> train, dev and test files of one sentence-aspect pair each, with statistics.

    python prepare_semeval_datasets.py --files "data/raw/Restaurants_Train_v2.xml" --istrain --noconfl \\
        --output_dir data/transformed/restaurants_noconfl
    python prepare_semeval_datasets.py --files "data/raw/Restaurants_Test_Gold.xml" --noconfl \\
        --output_dir data/transformed/restaurants_noconfl

    python prepare_semeval_datasets.py --files Laptop_Train_v2.xml Restaurants_Train_v2.xml --istrain --noconfl \\
        --upsample "0.53 0.21 0.26" --output_dir data/transformed/mixed

run_glue.py --task_name semeval2014-atsc then trains on train_split.xml, chooses on dev.xml and scores test.xml once.
train.xml holds both parts, for a last training without a choice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune import cli
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.preparation import SemevalArguments
from finetune.errors import Problem, UsageError
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(__doc__ or "", (SemevalArguments,), checks=(check_semeval,))


def check_semeval(arguments: Arguments) -> list[Problem]:
    asked = arguments[SemevalArguments]
    problems = []
    if asked.upsample and not asked.istrain:
        problems.append(Problem("--upsample is for training files", remedy="add --istrain, or drop it"))
    if asked.upsample and not asked.noconfl:
        problems.append(Problem("--upsample needs --noconfl", "shares are of POS, NEG and NEU"))
    return problems


def main(arguments: Arguments, _: Run) -> dict[str, Any]:
    from finetune.classification.published.semeval import AspectKind
    from finetune.classification.published.semeval_preparation import (
        describe_pairs,
        prepare_sets,
        read_shares,
        write_semeval,
    )

    asked, kind = arguments[SemevalArguments], AspectKind(arguments[SemevalArguments].aspects)
    shares = read_shares(asked.upsample) if asked.upsample else None
    sets = prepare_sets(
        [Path(name) for name in asked.files],
        kind,
        is_train=asked.istrain,
        drop_conflicts=asked.noconfl,
        shares=shares,
        seed=asked.seed,
    )
    folder = Path(asked.output_dir)
    existing = [folder / f"{name}.xml" for name in sets if (folder / f"{name}.xml").exists()]
    if existing and not asked.overwrite:
        remedy = "choose another --output_dir, or add --overwrite"
        raise UsageError(*(Problem("the file is there already", remedy=remedy, path=path) for path in existing))
    folder.mkdir(parents=True, exist_ok=True)
    for name, pairs in sets.items():
        print(describe_pairs(name, pairs))
        write_semeval(folder / f"{name}.xml", pairs, kind)
        print(f"{folder / name}.xml: {len(pairs):,} pairs\n")
    return {"output_dir": asked.output_dir, **{name: len(pairs) for name, pairs in sets.items()}}


if __name__ == "__main__":
    cli.launch(make_parser, main, needs_folder=False)
