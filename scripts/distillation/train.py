"""Distil a language model: a smaller student learns from a teacher, even one of another width.

As DistilBERT was trained, on text that binarized_data.py and token_counts.py have prepared:

    python scripts/distillation/train.py --student_type distilbert --student_config configs/distilbert-base.json \\
        --student_pretrained_weights serialization_dir/student.safetensors --teacher_type bert \\
        --teacher_name bert-base-uncased --alpha_ce 5.0 --alpha_mlm 2.0 --alpha_cos 1.0 --alpha_clm 0.0 --mlm \\
        --freeze_pos_embs --data_file data/dump.bert-base-uncased --token_counts data/token_counts.json \\
        --dump_path serialization_dir/my_first_distillation --export distilbert.v1

A teacher of another width or without a trained head teaches by its states and relations:

    ... --alpha_ce 0 --alpha_mlm 1 --alpha_hidden 1 --alpha_relation 1

Run the same command again after an interruption: it goes on from the last checkpoint.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from finetune import cli
from finetune.arguments.distillation import (
    TRAINING_DEFAULTS,
    DistillationArguments,
    LossArguments,
    PredictionArguments,
    RhythmArguments,
    judge_losses,
)
from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.run.folder import Run


def make_parser() -> CommandParser:
    return CommandParser(
        __doc__ or "",
        (
            DistillationArguments,
            LossArguments,
            PredictionArguments,
            RhythmArguments,
            FastPathArguments,
            RunArguments,
        ),
        training_defaults=TRAINING_DEFAULTS,
        required=(),
        checks=(judge_losses,),
    )


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.tasks import distillation
    from finetune.training.building import train
    from finetune.training.dry_run import estimate_plan, format_plan

    task = distillation.open_task(arguments)
    trainer = distillation.build_distillation_trainer(task, run)
    if arguments[RunArguments].dry_run:
        plan = estimate_plan(trainer)
        print(format_plan(plan))
        return {"dry_run": True, **asdict(plan)}
    distillation.start_run(run, task)
    train(trainer, run)
    return distillation.write_results(run, task, trainer)


if __name__ == "__main__":
    cli.launch(make_parser, main)
