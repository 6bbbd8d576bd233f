"""Token classification, step by step in the order data flows: from encoded sentences to a trained tagger on disk."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from transformers import Trainer, set_seed

from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.model import ModelArguments
from finetune.arguments.run import RunArguments
from finetune.models.loading import load_model
from finetune.models.settings import TaggerSettings
from finetune.run.folder import Run
from finetune.tagging.evaluation import Decode, TaggedSplit, build_subword_metrics, predict_tags
from finetune.tagging.metrics import score_subwords
from finetune.tagging.pos_metrics import score_subword_tags
from finetune.tagging.task import TASK, TaggingTask
from finetune.tagging.viterbi import decode_constrained, forbid_illegal
from finetune.tokenization.loading import find_space_token
from finetune.training.building import TrainerParts, build_trainer
from finetune.training.callbacks import CheckpointFiles
from finetune.training.collators import TaggingCollator
from finetune.training.dry_run import estimate_plan, format_examples, format_plan
from finetune.training.losses import TokenLoss, balance_class_weights, take_label_smoothing

logger = logging.getLogger(__name__)


def build_tagging_trainer(task: TaggingTask, run: Run) -> Trainer:
    """Load the model and build the Trainer of this task."""
    set_seed(int(task.arguments.get("seed", 42)))  # the new head is drawn here
    model = load_model(task.arguments[ModelArguments], task.config, task.tokenizer, task=TASK, new_head=task.new_head)
    weights = resolve_class_weights(task)
    smoothing, values = take_label_smoothing(task.values)
    if task.arguments[RunArguments].dry_run:
        values["output_dir"] = tempfile.gettempdir()  # the Trainer makes its folder; a dry run leaves none
    padded = task.max_length if task.options.pad_to_max_length else None
    parts = TrainerParts(
        model=model,
        tokenizer=task.tokenizer,
        collator=TaggingCollator.for_tokenizer(task.tokenizer, max_length=padded),
        loss=TokenLoss(weights, smoothing),
        train=task.encoded["train"].dataset if "train" in task.encoded else None,
        validation=task.encoded["validation"].dataset if "validation" in task.encoded else None,
        compute_metrics=build_subword_metrics(build_subword_score(task)),
        callbacks=[CheckpointFiles(make_settings(task).save)],
        sparse_embedding=True,
    )
    fast_path = task.arguments[FastPathArguments]
    return build_trainer(parts, values, run, patience=task.options.early_stopping_patience, fast_path=fast_path)


def build_subword_score(task: TaggingTask) -> Any:
    if task.is_entities:
        return partial(score_subwords, label_list=task.labels, scheme=task.scheme)
    return partial(score_subword_tags, label_list=task.labels)


def resolve_class_weights(task: TaggingTask) -> list[float] | None:
    """`--class_weights balanced` from the training labels, or as a file says."""
    asked = task.options.class_weights
    if asked is None:
        return None
    if asked == "balanced":
        column = task.encoded["train"].dataset.with_format("arrow")[:]["labels"]
        weights = balance_class_weights(column.combine_chunks().flatten().to_numpy(), len(task.labels))
    else:
        assert task.class_weights is not None
        weights = task.class_weights
    shown = ", ".join(f"{label} {weight:.3g}" for label, weight in zip(task.labels, weights, strict=True))
    logger.info("Class weights: %s.", shown)
    return weights


def build_decoder(task: TaggingTask) -> Decode | None:
    """Viterbi over legal tag sequences, with the learned transition scores where there are any."""
    asked = task.options.constrained_decoding
    if asked is None or not task.is_entities:
        return None
    return partial(decode_constrained, transitions=forbid_illegal(task.labels, task.scheme, task.transitions))


def predict_split(trainer: Trainer, task: TaggingTask, name: str) -> TaggedSplit:
    """Tag a split with the model that the Trainer holds: after training, the best by validation."""
    return predict_tags(
        trainer, task.encoded[name], padding_side=task.tokenizer.padding_side, decode=build_decoder(task)
    )


def make_settings(task: TaggingTask) -> TaggerSettings:
    """How words become the input of this tagger, and its output tags: what `predict.py` has to know."""
    options = task.options
    return TaggerSettings(
        scheme=task.scheme.value,
        max_length=task.max_length,
        stride=task.stride,
        lowercase=options.lowercase,
        space_token=find_space_token(task.tokenizer, options.space_token),
        word_segmenter=options.word_segmenter or "auto",
        constrained_decoding=options.constrained_decoding is not None,
        transitions=None if task.transitions is None else task.transitions.as_table(),
    )


def save_tagger(trainer: Trainer, task: TaggingTask) -> None:
    """Model, tokenizer and settings; what is saved is the best by validation, as the Trainer has loaded it."""
    folder = Path(trainer.args.output_dir or ".")
    trainer.save_model(str(folder))
    if trainer.is_world_process_zero():
        make_settings(task).save(folder)


def show_plan(trainer: Trainer, task: TaggingTask) -> dict[str, Any]:
    """`--dry_run`: print examples and the estimate; returns the estimate for the last line."""
    first = next(iter(task.encoded.values())).dataset
    print(format_examples(first, task.tokenizer, task.labels))
    if trainer.train_dataset is None:
        return {"dry_run": True}
    plan = estimate_plan(trainer)
    print(format_plan(plan))
    return {"dry_run": True, **asdict(plan)}
