"""The Thai sequence classification command's own steps: its model and texts, its log lines, its last metrics."""

from __future__ import annotations

import logging
import math
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any, cast

from transformers import Trainer

from finetune.arguments.parser import Arguments
from finetune.arguments.training_table import TrainingValues
from finetune.classification.arguments import ClassificationArguments, ClassificationDataArguments, ColumnArguments
from finetune.classification.corpora import NAMED, find_named
from finetune.classification.corpus import load_classification_corpus
from finetune.classification.published.cleaning import clean_corpus, clean_text
from finetune.classification.results import Results
from finetune.classification.task import ClassificationTask, TaskDefinition
from finetune.classification.thai_arguments import ThaiTextArguments
from finetune.data.corpus import Corpus
from finetune.models.settings import ClassifierSettings
from finetune.run.folder import Run
from finetune.supervised.arguments import STAGES
from finetune.tokenization.sefr import SefrCutter, require_sefr_cut
from finetune.tokenization.segmentation import MARK
from finetune.training.dry_run import count_steps

logger = logging.getLogger(__name__)

BEST = "checkpoint-best"


def define_task(arguments: Arguments) -> TaskDefinition:
    thai = arguments[ThaiTextArguments]
    settings = ClassifierSettings(
        lowercase=thai.lowercase, cleaning=thai.cleaning, space_token=thai.replacement if thai.cleaning else None
    )
    return TaskDefinition(
        load_clean_corpus,
        name=arguments[ClassificationDataArguments].dataset_name or "",
        space_token=thai.replacement,
        settings=settings,
    )


def load_clean_corpus(arguments: Arguments) -> Corpus:
    """The corpus with its texts cleaned, as `process_transformers` of thai2transformers cleans them."""
    data, thai = arguments[ClassificationDataArguments], arguments[ThaiTextArguments]
    named = NAMED.get(find_named(data.dataset_name or "") or "")
    logger.info("[INFO] Dataset: %s", data.dataset_name or data.train_file or data.data_dir)
    logger.info("[INFO] Huggingface's dataset name: %s", named.hub if named else data.dataset_name)
    logger.info("[INFO] space_token: %s", thai.space_token)
    logger.info("[INFO] prepare_for_tokenization: %s", thai.prepare_for_tokenization)
    seed = int(arguments.get("seed", 2020))
    corpus = load_classification_corpus(data, arguments[ColumnArguments], seed=seed, validation_needed=True)
    drop_idle_stages(arguments, corpus)
    workers = arguments[ClassificationArguments].preprocessing_num_workers or 1
    if thai.tokenizer_type == "sefr_cut":
        mark_words(corpus, workers)
    if thai.cleaning:
        clean = partial(clean_text, space_token=thai.replacement, lowercase=thai.lowercase)
        clean_corpus(corpus, clean, workers=workers)
    elif thai.lowercase:
        clean_corpus(corpus, str.lower)
    return corpus


def mark_words(corpus: Corpus, workers: int) -> None:
    """Put SEFR CUT's marks between the words of texts, which its tokenizer needs, unless the corpus comes with them.

    Raises:
        UsageError: SEFR CUT is not installed.
    """
    if any(MARK in text for rows in corpus.splits.values() for text in rows["text"][:100]):
        return
    require_sefr_cut()
    clean_corpus(corpus, mark_text, workers=workers)


def mark_text(text: str) -> str:
    marked, _ = SefrCutter()([text])
    return marked[0]


def drop_idle_stages(arguments: Arguments, corpus: Corpus) -> None:
    """The command trains, evaluates and tests by habit: what nobody typed and the corpus cannot serve is left out."""
    for flag, split in STAGES.items():
        if split not in corpus.splits and flag not in arguments.typed and arguments.training.get(flag):
            arguments.training |= cast(TrainingValues, {flag: False})
            logger.info("There is no %s split: nothing is done with one.", split)


def log_plan(task: ClassificationTask, trainer: Trainer) -> None:
    """The `[INFO]` lines before training, with the values that training has: steps as numbers, the number format settled."""
    values, sizes = task.values, {name: len(rows) for name, rows in task.corpus.splits.items()}
    batch = int(values.get("per_device_train_batch_size") or 8)
    logger.info("[INFO] Task: %s", task.problem_type.value)
    logger.info("[INFO] max_length = %s", task.settings.max_length)
    for name, size in sizes.items():
        logger.info("[INFO] Number of %s examples = %s", name, size)
        logger.info("[INFO] Number of batches per epoch (%s set) = %s", name, math.ceil(size / batch))
    arguments = trainer.args
    warmup = arguments.get_warmup_steps(count_steps(trainer)) if trainer.train_dataset is not None else 0
    logger.info("[INFO] warmup_steps: %s", warmup)
    for name in ("learning_rate", "logging_steps", "fp16", "bf16"):
        logger.info("[INFO] %s: %s", name, getattr(arguments, name))


def keep_best(run: Run) -> None:
    """`checkpoint-best`, where thai2transformers leaves the model: links to the files of the output folder."""
    assert run.folder is not None
    if not run.writes:
        return
    best = run.folder / BEST
    best.mkdir(exist_ok=True)
    for path in run.folder.iterdir():
        if path.is_file() and path.suffix in (".json", ".safetensors", ".model", ".txt") and _belongs_to_model(path):
            target = best / path.name
            target.unlink(missing_ok=True)
            _link(path, target)


def _belongs_to_model(path: Path) -> bool:
    own = ("run.json", "metrics.json", "report.txt", "trainer_state.json")
    return path.name not in own and not path.name.startswith(("predictions.", "."))


def _link(source: Path, target: Path) -> None:
    """A hard link costs no disk; a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def print_test_scores(task: ClassificationTask, results: Results) -> None:
    """`Evaluation on test set (dataset: X)` and one line `key : 0.1234` each."""
    result = results.splits.get("test")
    if result is None or result.summary is None:
        return
    print(f"Evaluation on test set (dataset: {task.definition.name or task.corpus.name})")
    scores: dict[str, Any] = {"loss": result.loss, **result.summary.scores}
    for key, value in scores.items():
        print(f"{key} : {value:.4f}")
