"""Fine-tuning for surprisals, a run: train where there are texts to train on, test, evaluate, write it all."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.arguments.parser import Arguments
from finetune.arguments.run import RunArguments
from finetune.errors import Problem, ProblemList, UsageError
from finetune.lm_experiments.arguments import (
    BASELINE_LOSS,
    ExperimentArguments,
    ExperimentModelArguments,
    ExperimentTextArguments,
    as_list,
)
from finetune.lm_experiments.batches import TextBatches
from finetune.lm_experiments.parts import ExperimentParts, find_device, open_parts
from finetune.lm_experiments.processes import agree_on, speak_with_one_voice
from finetune.lm_experiments.result_arguments import ExperimentResultArguments
from finetune.lm_experiments.settings import ExperimentSettings, resolve_token
from finetune.lm_experiments.testing import read_tests, run_tests
from finetune.lm_experiments.texts import AnnotatedTexts
from finetune.lm_experiments.trainer import SPLITS
from finetune.lm_experiments.training import (
    MODEL,
    TOKENIZER,
    ExperimentTask,
    resolve_task,
    save_trained_model,
    train_once,
)
from finetune.report.files import write_metrics, write_text
from finetune.run.checkpoints import delete, list_checkpoints
from finetune.run.folder import Run
from finetune.run.launcher import is_main_process
from finetune.surprisal.columns import write_columns
from finetune.surprisal.inference import SurprisalModel
from finetune.surprisal.input import find_metadata
from finetune.surprisal.pair_evaluation import check_pair_task, evaluate_pairs, find_pair_files, read_pairs
from finetune.surprisal.pair_files import MinimalPair
from finetune.surprisal.table_files import FORMATS

logger = logging.getLogger(__name__)

CONFIG = "config.txt"
TEXTS_JUDGED = 1024  # of each test, before training
TRAINED = "training"  # the fact in run.json that says a model is trained and saved


def resolve(arguments: Arguments, run: Run) -> ExperimentSettings:
    """All arguments of one training, the seed drawn where none was given (and kept, for a run that goes on)."""
    experiment = arguments[ExperimentArguments]
    model = resolve_token(arguments[ExperimentModelArguments])
    seed = experiment.seed if experiment.seed is not None else run.recall("drawn_seed")
    drawn = random.SystemRandom().randint(0, 2**32 - 1) if seed is None else seed
    drawn = agree_on(drawn, on_processor=find_device(model.use_gpu).type == "cpu")
    if seed is None:
        logger.info("No --seed was given; it is %d.", drawn)
    if experiment.seed is None:
        run.record(drawn_seed=drawn)
    return ExperimentSettings(
        model,
        arguments[ExperimentTextArguments],
        experiment,
        arguments[ExperimentResultArguments],
        drawn,
        run.adapting,
    )


def run_experiment(arguments: Arguments, run: Run) -> dict[str, Any]:
    """Train, test and evaluate as asked; returns what the last line says.

    Raises:
        DataError, UsageError: with every problem, before anything is trained.
        Preempted: a signal asked to stop; the same command goes on.
    """
    speak_with_one_voice()
    settings = resolve(arguments, run)
    tell_device(settings)
    tests, pairs = read_inputs(settings)
    if arguments[RunArguments].dry_run:
        return describe_task(settings, tests)
    folder = run.folder
    if folder is None:
        raise UsageError(Problem("--output_dir is missing", remedy="name the folder for the results"))
    facts = run.recall(TRAINED)
    task = resolve_task(settings) if settings.texts.train_file and facts is None else None
    parts = task.parts if task else open_parts(trained_here(settings, folder) if facts else settings, ())
    parts = replace(parts, settings=settings)
    require_evaluations(parts, tests, pairs)
    run.start()
    run.record_inputs([*input_files(settings, tests), *find_pair_files(settings.results)])
    if is_main_process():
        write_config(arguments, settings, folder)
    if task:
        facts = train_and_save(task, run, folder)
    if facts and is_main_process():
        remove_checkpoints(folder)
    return finish_run(parts, facts, run, tests, pairs)


def require_evaluations(parts: ExperimentParts, tests: Sequence[AnnotatedTexts], pairs: Sequence[MinimalPair]) -> None:
    """Whether tests and evaluations can be done with this model, before it is trained.

    Raises:
        DataError, UsageError: with the problems of all of them.
    """
    problems = ProblemList()
    for texts in tests:
        problems.attempt(TextBatches, texts.take(range(min(len(texts), TEXTS_JUDGED))), parts.recipe("test"))
    problems.extend(check_pair_task(parts.task) if pairs else ())
    problems.raise_any()


def read_inputs(settings: ExperimentSettings) -> tuple[list[AnnotatedTexts], list[MinimalPair]]:
    """Test texts and minimal pairs.

    Raises:
        DataError: with the problems of both.
    """
    problems = ProblemList()
    tests = problems.attempt(read_tests, settings) or []
    pairs = problems.attempt(read_pairs, settings.results)
    problems.raise_any()
    return tests, pairs or []


def train_and_save(task: ExperimentTask, run: Run, folder: Path) -> dict[str, Any]:
    """Train, save model and tokenizer; how training went."""
    settings = task.parts.settings
    result = train_once(settings, run, folder, task=task, on_disk=settings.experiment.save_best_model_state_to_disk)
    if is_main_process():
        save_trained_model(result, folder)
    facts = {
        "best_epoch": result.best.epoch,
        "validation_loss": result.best.loss,
        "validation_losses": result.best.losses,
        "epochs": result.epochs,
        "stopped": result.stopped or None,
    }
    run.record(**{TRAINED: facts})
    return facts


def remove_checkpoints(folder: Path) -> None:
    """They are for going on only; a start that was killed here may have left some of them."""
    for checkpoint in list_checkpoints(folder):
        delete(checkpoint)


def trained_here(settings: ExperimentSettings, folder: Path) -> ExperimentSettings:
    """Settings that open the model which this run has trained already: no modifier is applied twice."""
    model = replace(
        settings.model,
        model_name_or_path=str(folder / MODEL),
        tokenizer_name_or_path=str(folder / TOKENIZER),
        config_name=None,
        model_modifier_fns=[],
    )
    return replace(settings, model=model)


def finish_run(
    parts: ExperimentParts,
    facts: dict[str, Any] | None,
    run: Run,
    tests: Sequence[AnnotatedTexts],
    pairs: Sequence[MinimalPair],
) -> dict[str, Any]:
    """Tests and evaluations of the model; metrics.json and the last line, which are of the first process."""
    assert run.folder is not None
    metrics: dict[str, Any] = {"validation": facts} if facts else {}
    if tests:
        metrics["test"] = run_tests(parts, tests, run, epoch=facts["best_epoch"] if facts else None)
    details: dict[str, Any] = {}
    if not is_main_process():
        return {}
    if pairs:
        surprisal_model = SurprisalModel(parts.model, parts.tokenizer, parts.task)
        results = parts.settings.results
        name = str(results.evaluate)
        metrics[name], details[name] = evaluate_pairs(surprisal_model, pairs, run.folder, name, results.metrics_format)
    write_metrics(run.folder, {**metrics, **details})
    write_columns(run.folder, sorted(run.folder.glob(f"*{FORMATS[parts.settings.results.metrics_format]}")))
    return {"seed": parts.settings.seed, **metrics}


def describe_task(settings: ExperimentSettings, tests: Sequence[AnnotatedTexts]) -> dict[str, Any]:
    """`--dry_run`: everything is read, checked and built; how much there is."""
    counts: dict[str, Any] = {"test": sum(map(len, tests))}
    if settings.texts.train_file:
        task = resolve_task(settings)
        counts |= {split: len(task.texts[split]) for split in SPLITS}
        example = task.texts["train"].make([0], 1)
        print(task.parts.tokenizer.decode(example.arrays["input_ids"][0]))
    else:
        open_parts(settings, ())
    return {"dry_run": True, "texts": counts}


def write_config(arguments: Arguments, settings: ExperimentSettings, folder: Path) -> None:
    """`config.txt`: every argument as --config_file reads it, with the seed that is used."""
    text = arguments.as_yaml()
    drawn = (
        ""
        if arguments[ExperimentArguments].seed is not None
        else f"# the seed that was drawn: --seed {settings.seed}\n"
    )
    write_text(folder / CONFIG, drawn + text.rstrip("\n") + "\n")


def input_files(settings: ExperimentSettings, tests: Sequence[AnnotatedTexts]) -> list[Path]:
    """Every file that decides what comes out."""
    found = [path for texts in tests for path in texts.files]
    named = [settings.texts.train_file, settings.texts.validation_file] if settings.texts.train_file else []
    for split in SPLITS if named else ():
        for name, kwargs in settings.experiment.losses(split).items():
            named += as_list(kwargs.get("dataset")) if name.endswith(BASELINE_LOSS) else []
    for path in (Path(name) for name in dict.fromkeys(named) if name):
        found += [path, *([beside] if (beside := find_metadata(path)) else [])]
    return list(dict.fromkeys(found))


def tell_device(settings: ExperimentSettings) -> None:
    """What `--use_gpu` comes to: the published program computes on the processor unless it is given."""
    device = find_device(settings.model.use_gpu)
    if device.type == "cuda" and settings.model.use_gpu is None:
        logger.warning("A GPU is visible and is used; --use_gpu False keeps it off.")
    else:
        logger.info("Computing on the %s.", "GPU" if device.type == "cuda" else "processor")
