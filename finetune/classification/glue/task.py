"""run_glue's own steps: the task's corpus from a folder, files or the hub, and the files that its users expect."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import Trainer

from finetune.arguments.parser import Arguments
from finetune.classification.arguments import (
    ClassificationArguments,
    ClassificationDataArguments,
    ColumnArguments,
)
from finetune.classification.column_choice import ColumnChoice
from finetune.classification.corpora import NAMED, find_named
from finetune.classification.corpus import load_classification_corpus, load_tables, prepare_splits, read_tables
from finetune.classification.glue.arguments import GlueArguments
from finetune.classification.glue.files import load_glue_corpus, read_glue_splits
from finetune.classification.glue.metrics import rename_to_old
from finetune.classification.glue.report import write_glue_predictions, write_submission
from finetune.classification.glue.tasks import GLUE_ON_HUB, GlueTask, find_task, is_glue_task, known_names
from finetune.classification.published.cleaning import clean_corpus
from finetune.classification.results import Results, name_predictions
from finetune.classification.row_targets import ask_targets
from finetune.classification.task import ClassificationTask, TaskDefinition
from finetune.data import hub
from finetune.data.corpus import Corpus, select_rows
from finetune.data.row_files import rows_of_dataset
from finetune.data.sources import DATA_DIR_VARIABLE
from finetune.errors import DataError, Problem
from finetune.models.settings import ClassifierSettings
from finetune.report.files import write_results, write_text
from finetune.run.folder import Run
from finetune.supervised.arguments import list_scored

logger = logging.getLogger(__name__)

DEFAULT_LENGTH = 128
SUBMISSION = "submission"
# MNLI's second validation and test sets, and GLUE's diagnostics, which an MNLI model predicts.
EXTRA_SPLITS = {
    "validation_mismatched": ("mnli-mm", "validation"),
    "test_mismatched": ("mnli-mm", "test"),
    "test_diagnostics": ("ax", "test"),
}


def define_task(arguments: Arguments) -> TaskDefinition:
    """What the command line asks for; files are opened later.

    Raises:
        UsageError: there is no task of that name.
    """
    typed = arguments[GlueArguments].task_name
    task = glue_task(arguments)
    settings = ClassifierSettings(lowercase=bool(arguments[GlueArguments].do_lower_case))
    if typed is None:
        return TaskDefinition(load_any_corpus, "", (), DEFAULT_LENGTH, settings=settings)
    metrics = task.metrics if task else NAMED[str(find_named(typed))].metrics
    return TaskDefinition(load_task_corpus, typed.lower(), metrics, DEFAULT_LENGTH, settings=settings)


def glue_task(arguments: Arguments) -> GlueTask | None:
    """The GLUE task that was named; None for another task, or none.

    Raises:
        UsageError: there is no task of that name, with the nearest.
    """
    name = arguments[GlueArguments].task_name
    if name is None or (find_named(name) and not is_glue_task(name)):
        return None
    return find_task(name)


def load_any_corpus(arguments: Arguments) -> Corpus:
    data, columns = arguments[ClassificationDataArguments], arguments[ColumnArguments]
    targets = ask_targets(arguments)
    elsewhere = bool(arguments[ClassificationArguments].silver_file)
    corpus = load_classification_corpus(
        data, columns, targets=targets, targets_elsewhere=elsewhere, **_needs(arguments)
    )
    return lower_texts(corpus, arguments)


def load_task_corpus(arguments: Arguments) -> Corpus:
    """The corpus of `--task_name`, with MNLI's mismatched sets and the diagnostics where they are there."""
    data, columns = arguments[ClassificationDataArguments], arguments[ColumnArguments]
    task = glue_task(arguments)
    if task is None:
        named = replace(data, dataset_name=find_named(str(arguments[GlueArguments].task_name)))
        return lower_texts(load_classification_corpus(named, columns, **_needs(arguments)), arguments)
    corpus = read_task(task, data, columns)
    prepare_splits(corpus, data, **_needs(arguments))
    if task.name == "mnli":
        add_extra_splits(corpus, data, columns)
    return lower_texts(corpus, arguments)


def _needs(arguments: Arguments) -> dict[str, Any]:
    return {"seed": int(arguments.get("seed", 42)), "validation_needed": bool(arguments.training.get("do_eval"))}


def read_task(task: GlueTask, data: ClassificationDataArguments, columns: ColumnArguments) -> Corpus:
    """The splits of a GLUE task: typed files, `--data_dir`, $FINETUNE_DATA_DIR/glue, or the hub, the first that is given.

    Raises:
        DataError: the files are broken, or the task is nowhere to be found.
    """
    typed = {split: path for split in ("train", "validation", "test") if (path := getattr(data, f"{split}_file"))}
    if typed and all(Path(path.removesuffix(".gz")).suffix == ".tsv" for path in typed.values()):
        return read_glue_splits(task, {split: Path(path) for split, path in typed.items()})
    if typed or data.dataset_name:
        return load_tables(data, columns)
    if data.data_dir:
        return load_glue_corpus(task, Path(data.data_dir).expanduser())
    root = os.environ.get(DATA_DIR_VARIABLE)
    if root and (Path(root).expanduser() / "glue").is_dir():
        return load_glue_corpus(task, Path(root).expanduser() / "glue")
    return load_from_hub(task)


def load_from_hub(task: GlueTask) -> Corpus:
    """The hub's copy of a task.

    Raises:
        DataError: it cannot be reached; says which files to place where.
    """
    try:
        loaded = hub.load_hub_dataset(GLUE_ON_HUB, task.hub_name or task.name, task.hub_splits)
    except DataError as error:
        names = ", ".join(f"{stems[0]}.tsv" for stems in task.stems.values())
        remedy = f"place {names} (or .tsv.gz) in a folder {task.folder} and pass it, or the one above, with --data_dir"
        found = f"GLUE {task.folder} is not at hand: no --data_dir, and the hub did not give {GLUE_ON_HUB}"
        raise DataError(Problem(found, str(error.problems[0].found), remedy)) from error
    corpus = read_tables(task.name, {split: rows_of_dataset(rows) for split, rows in loaded.items()}, ColumnChoice())
    corpus.labels = list(task.labels) or None
    return corpus


def add_extra_splits(corpus: Corpus, data: ClassificationDataArguments, columns: ColumnArguments) -> None:
    """Add MNLI's mismatched sets and the diagnostics, in place; those that are not there are left out."""
    limits = {"validation": data.max_eval_samples, "test": data.max_predict_samples}
    for name in ("mnli-mm", "ax"):
        try:
            extra = read_task(
                find_task(name), replace(data, train_file=None, validation_file=None, test_file=None), columns
            )
        except DataError as error:
            logger.info("GLUE %s is left out: %s", name, error.problems[0].found)
            continue
        for target, (source, split) in EXTRA_SPLITS.items():
            if source == name and split in extra.splits:
                rows = extra.splits[split]
                limit = limits[split] or len(rows)
                corpus.splits[target] = select_rows(rows, range(min(limit, len(rows))))
                corpus.files[target] = extra.files.get(split, [])


def lower_texts(corpus: Corpus, arguments: Arguments) -> Corpus:
    """`--do_lower_case`: lower-case all texts, in place."""
    if arguments[GlueArguments].do_lower_case:
        clean_corpus(corpus, str.lower)
    return corpus


def reported_splits(task: ClassificationTask) -> list[str]:
    """The splits of the stages asked for, with MNLI's other sets.

    A test set with labels of a task that has no public ranking (aspect sentiment) is scored once too, at the end.
    """
    names = list_scored(task.arguments)
    for split in ("validation", "test"):
        if split in names:
            names += [name for name in EXTRA_SPLITS if name in task.encoded and name.startswith(split)]
    is_aspects = find_named(task.definition.name) is not None and not is_glue_task(task.definition.name)
    if is_aspects and "validation" in names and "test" in task.encoded and "test" not in names:
        names.append("test")
    return names


def task_of_split(task: ClassificationTask, split: str) -> str:
    """What the task is called in the files of a split: `sst2`, or `mnli-mm` for MNLI's mismatched sets."""
    return EXTRA_SPLITS[split][0] if split in EXTRA_SPLITS else task.definition.name or "task"


def write_glue_results(run: Run, task: ClassificationTask, results: Results, trainer: Trainer) -> None:
    """`eval_results.txt` with the names of transformers 2, `eval_results_<task>.txt` with those since, predictions.

    The log shows those of the generation that the task's name is of: `sst-2` is old, `sst2` is new.
    """
    assert run.folder is not None
    if not run.writes:
        return
    for split, result in results.splits.items():
        if split.startswith("validation") and result.summary is not None:
            write_evaluation(run.folder, task, split, {"loss": result.loss, **result.summary.scores}, trainer)
        elif split.startswith("test"):
            predicted = name_predictions(task, results, split)
            write_test_predictions(run.folder, task, split, predicted)


def write_evaluation(
    folder: Path, task: ClassificationTask, split: str, scores: dict[str, Any], trainer: Trainer
) -> None:
    names = ("loss", *(task.scoring.metrics or task.scoring.names), "combined_score")
    shown = {f"eval_{name}": scores[name] for name in dict.fromkeys(names) if name in scores}
    old = dict(sorted(rename_to_old(shown).items()))
    new = {**shown, "epoch": trainer.state.epoch, "total_flos": trainer.state.total_flos}
    name = task_of_split(task, split)
    values, others = (old, new) if is_old_name(name) else (new, old)
    files = [f"eval_results_{name}.txt", "eval_results.txt"]
    target, other = reversed(files) if is_old_name(name) else files
    write_results(folder / target, values, title=f"Eval results {name}".strip())
    if split == "validation":
        write_text(folder / other, "".join(f"{key} = {value}\n" for key, value in others.items()))


def is_old_name(name: str) -> bool:
    """Whether a task is called as transformers 2 called it (`sst-2`, `sts-b`, and the aspect tasks of that time)."""
    task = known_names().get(name.lower())
    return name.lower() != task.name if task else find_named(name) is not None


def write_test_predictions(folder: Path, task: ClassificationTask, split: str, predicted: list[Any]) -> None:
    name = task_of_split(task, split)
    lines = [", ".join(item) if isinstance(item, list) else item for item in predicted]
    for prefix in ("test", "predict"):  # as transformers 3 and as it is called today
        write_glue_predictions(folder / f"{prefix}_results_{name}.txt", lines)
    glue = known_names().get(name)
    if glue is not None and (not glue.labels or set(lines) <= set(glue.labels)):
        path = write_submission(folder / SUBMISSION, glue, lines)
        if len(lines) != glue.rows["test"]:
            found, official = f"{len(lines):,}", f"{glue.rows['test']:,}"
            logger.warning("%s has %s rows; a submission of %s needs %s.", path, found, glue.folder, official)
