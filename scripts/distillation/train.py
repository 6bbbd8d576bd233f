"""Distil a model: a smaller student learns from a teacher, even one of another width.

As DistilBERT was trained, on text that binarized_data.py and token_counts.py have prepared:

    python scripts/distillation/train.py --student_type distilbert --student_config configs/distilbert-base.json \\
        --student_pretrained_weights serialization_dir/student.safetensors --teacher_type bert \\
        --teacher_name bert-base-uncased --alpha_ce 5.0 --alpha_mlm 2.0 --alpha_cos 1.0 --alpha_clm 0.0 --mlm \\
        --freeze_pos_embs --data_file data/dump.bert-base-uncased --token_counts data/token_counts.json \\
        --dump_path serialization_dir/my_first_distillation --export distilbert.v1

A teacher of another width or without a trained head is learnt from by its states and relations:

    ... --alpha_ce 0 --alpha_mlm 1 --alpha_hidden 1 --alpha_relation 1

A fine-tuned tagger or classifier, on its own training data and on texts that nobody has labelled:

    python scripts/distillation/train.py --task token_classification --teacher_name outputs/wnut17 \\
        --student_name distilbert.v1 --dataset_name wnut17 --unlabelled_file tweets.txt --alpha_ce 0.5 --alpha_hard 0.5 \\
        --output_dir outputs/wnut17-small --do_eval --do_predict

    python scripts/distillation/train.py --task sequence_classification --teacher_name outputs/sst2 \\
        --student_name distilbert.v1 --task_name sst2 --data_dir glue_data/SST-2 --output_dir outputs/sst2-small --do_eval

--task TASK --help lists the flags of a task. Run the same command again after an interruption: it goes on from the last
checkpoint.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from finetune import cli
from finetune.arguments.groups import TRAINING_GROUPS
from finetune.arguments.parser import Arguments, CommandParser
from finetune.arguments.run import RunArguments
from finetune.classification.arguments import ClassificationArguments, ClassificationDataArguments, ColumnArguments
from finetune.classification.glue.arguments import GlueArguments
from finetune.distillation.arguments import (
    TRAINING_DEFAULTS,
    DistillationArguments,
    LossArguments,
    PredictionArguments,
    ScheduleArguments,
    check_losses,
    resolve_losses,
)
from finetune.distillation.task_arguments import (
    LANGUAGE_MODELING,
    TASK_DEFAULTS,
    TOKEN_CLASSIFICATION,
    TaskDistillationArguments,
    TaskLossArguments,
    check_task_distillation,
    find_task,
    resolve_teacher,
)
from finetune.run.folder import Run
from finetune.supervised.arguments import list_scored
from finetune.tagging.arguments import TaggingArguments, TaggingDataArguments

LANGUAGE_GROUPS = (DistillationArguments, LossArguments, PredictionArguments, ScheduleArguments)
TAGGING_GROUPS = (TaggingDataArguments, TaggingArguments)
TEXT_GROUPS = (GlueArguments, ClassificationDataArguments, ColumnArguments, ClassificationArguments)


def make_parser() -> CommandParser:
    """The flags of a task are those of its own command, so `--task` is looked for first."""
    task = find_task(sys.argv[1:])
    if task == LANGUAGE_MODELING:
        groups: tuple[type, ...] = (*LANGUAGE_GROUPS, *TRAINING_GROUPS)
        return CommandParser(
            __doc__ or "",
            groups,
            training_defaults=TRAINING_DEFAULTS,
            required=(),
            resolvers=(resolve_losses,),
            checks=(check_losses,),
        )
    data = TAGGING_GROUPS if task == TOKEN_CLASSIFICATION else TEXT_GROUPS
    groups = (TaskDistillationArguments, TaskLossArguments, *data, *TRAINING_GROUPS)
    return CommandParser(
        __doc__ or "",
        groups,
        training_defaults=TASK_DEFAULTS,
        resolvers=(resolve_teacher,),
        checks=(check_task_distillation,),
    )


def main(arguments: Arguments, run: Run) -> dict[str, Any]:
    mains = {LANGUAGE_MODELING: distil_language_model, TOKEN_CLASSIFICATION: distil_tagger}
    return mains.get(arguments.get("task"), distil_classifier)(arguments, run)


def distil_language_model(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.distillation import language as distillation
    from finetune.training.building import train
    from finetune.training.dry_run import estimate_plan, format_plan

    task = distillation.open_task(arguments)
    trainer = distillation.build_distillation_trainer(task, run)
    if arguments[RunArguments].dry_run:
        plan = estimate_plan(trainer)
        print(format_plan(plan))
        return {"dry_run": True, **asdict(plan)}
    distillation.start_run(run, task)
    distillation.prepare_teacher(task, trainer)
    train(trainer, run)
    return distillation.write_results(run, task, trainer)


def distil_tagger(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.distillation import task_data as task_distillation_data
    from finetune.distillation import task_training as training
    from finetune.distillation import teacher_scores
    from finetune.supervised.training import show_estimate
    from finetune.tagging import results as tagging_results
    from finetune.training.building import train

    distilled = task_distillation_data.open_tagging(arguments)
    trainer = training.build_distillation_trainer(distilled, run)
    task: Any = distilled.task
    if arguments[RunArguments].dry_run:
        return show_estimate(trainer, task)
    training.start_run(run, distilled)
    training.prepare_teacher(distilled, trainer)
    train(trainer, run)
    training.save_student(trainer, distilled)
    results = tagging_results.score_splits(trainer, task, list_scored(arguments))
    teacher_scores.write_tagging_teacher(run, distilled, trainer, list_scored(arguments))
    metrics = tagging_results.write_tagging_results(run, task, results)
    return metrics | training.export_student(trainer, distilled, metrics)


def distil_classifier(arguments: Arguments, run: Run) -> dict[str, Any]:
    from finetune.classification import results as classification_results
    from finetune.classification.glue import task as glue
    from finetune.distillation import task_data as task_distillation_data
    from finetune.distillation import task_training as training
    from finetune.distillation import teacher_scores
    from finetune.supervised.training import show_estimate
    from finetune.training.building import train

    distilled = task_distillation_data.open_classification(arguments)
    trainer = training.build_distillation_trainer(distilled, run)
    task: Any = distilled.task
    if arguments[RunArguments].dry_run:
        return show_estimate(trainer, task)
    training.start_run(run, distilled)
    training.prepare_teacher(distilled, trainer)
    train(trainer, run)
    outputs = classification_results.SplitOutputs(trainer, task)
    decision = classification_results.fit_on_validation(outputs, task)
    training.save_student(trainer, distilled, decision)
    results = classification_results.score_splits(outputs, task, decision, glue.reported_splits(task))
    teacher_scores.write_classification_teacher(run, distilled, trainer, list(results.splits))
    glue.write_glue_results(run, task, results, trainer)
    metrics = classification_results.write_classification_results(run, task, results)
    return metrics | training.export_student(trainer, distilled, metrics, decision)


if __name__ == "__main__":
    cli.launch(make_parser, main)
