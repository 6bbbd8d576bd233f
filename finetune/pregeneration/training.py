"""Training BERT on pregenerated instances, step by step: masked subwords and next sentences."""

from __future__ import annotations

import math
import os
from collections.abc import Sized
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, Trainer

from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.arguments.training_table import TrainingValues
from finetune.data.text import find_text_files
from finetune.errors import ProblemList
from finetune.models.building import build_model
from finetune.models.checks import check_head, check_max_length, check_vocabulary
from finetune.models.families import has_sparse_head
from finetune.models.loading import check_weights, load_config
from finetune.pregeneration.collators import PretrainingCollator
from finetune.pregeneration.epochs import PregeneratedEpochs, open_epochs
from finetune.pregeneration.instances import InstanceSettings
from finetune.pregeneration.loss_files import write_losses
from finetune.pregeneration.losses import (
    EpochSampler,
    IntermediateModels,
    LossFiles,
    PretrainingLoss,
    count_items,
    logged_losses,
)
from finetune.pregeneration.pregenerate import Pregeneration, pregenerate
from finetune.pregeneration.task import show_instances
from finetune.pregeneration.training_arguments import PretrainingArguments, SimpleTextArguments
from finetune.report.model_card import ModelCard, write_model_card
from finetune.run.folder import Run
from finetune.run.manifest import library_versions
from finetune.tokenization.casing import set_casing
from finetune.tokenization.loading import load_tokenizer
from finetune.training.building import TrainerParts, build_trainer
from finetune.training.dry_run import estimate_plan, format_plan
from finetune.training.evaluation_schedule import resolve_schedule
from finetune.training.length_batches import EpochFollower
from finetune.training.saving import save_trained

TASK = "pretraining"
CARD_FACTS = ("num_train_epochs", "learning_rate", "train_batch_size", "warmup_steps", "seed")


@dataclass
class PretrainingTask:
    """Everything that is known before weights are read; nothing in it is wrong."""

    arguments: Arguments
    model: ModelArguments
    tokenizer: PreTrainedTokenizerBase
    config: PretrainedConfig
    values: TrainingValues  # TrainingArguments by name, settled
    data: PregeneratedEpochs | None = None

    @property
    def seed(self) -> int:
        return int(self.arguments.get("seed", 42))


def open_task(arguments: Arguments, *, max_seq_len: int | None = None) -> PretrainingTask:
    """Open tokenizer and configuration, and check them together; the data comes later.

    Raises:
        DataError: with every problem of all of them.
    """
    asked, problems = arguments[PretrainingArguments], ProblemList()
    model = ModelArguments(model_name_or_path=asked.bert_model)
    tokenizer = problems.attempt(load_tokenizer, model)
    config = problems.attempt(load_config, model)
    problems.extend(check_weights(model))
    values = problems.attempt(resolve_schedule, arguments.training, has_validation=False)
    if config is not None:
        problems.extend(check_head(config, TASK))
        problems.extend(check_length(max_seq_len, config))
    if config is not None and tokenizer is not None:
        problems.extend(check_vocabulary(config, tokenizer))
    problems.raise_any()
    assert tokenizer is not None and config is not None and values is not None
    tokenizer = set_casing(tokenizer, asked.do_lower_case)
    return PretrainingTask(arguments, model, tokenizer, config, values)


def check_length(max_seq_len: int | None, config: PretrainedConfig) -> list[Any]:
    return [
        replace(problem, found=problem.found.replace("--max_length", "a length of"), remedy="prepare shorter instances")
        for problem in check_max_length(max_seq_len, config)
    ]


def open_data(task: PretrainingTask, folder: Path, *, epochs: int, work: Path | None) -> None:
    """Open the pregenerated epochs.

    Raises:
        DataError: as `open_epochs`; instances that are longer than the model's positions.
    """
    task.data = open_epochs(folder, task.tokenizer, epochs=epochs, work=work)
    problems = ProblemList(check_length(task.data.max_seq_len, task.config))
    problems.raise_any()


def prepare_two_sentences(task: PretrainingTask, folder: Path) -> list[Path]:
    """Instances of two sentences each, as many epochs of them as training has; returns the files of the text.

    Raises:
        DataError: as `find_text_files` and `pregenerate`.
    """
    asked = task.arguments[SimpleTextArguments]
    paths = find_text_files(asked.train_corpus, ext=asked.ext, flag="--train_corpus")
    settings = InstanceSettings(
        max_seq_len=asked.max_seq_length,
        max_predictions_per_seq=asked.max_seq_length,
        two_sentences=True,
        seed=task.seed,
    )
    epochs = max(math.ceil(float(task.values.get("num_train_epochs") or 3.0)), 1)
    pregenerate(Pregeneration(paths, folder, epochs, settings, workers=asked.num_workers), task.tokenizer)
    open_data(task, folder, epochs=epochs, work=None)
    return paths


def build_pretraining_trainer(task: PretrainingTask, run: Run) -> Trainer:
    """Load the model with its pretraining heads and build the Trainer."""
    assert task.data is not None
    asked, fast_path = task.arguments[PretrainingArguments], task.arguments[FastPathArguments]
    model = build_model(task.model, task.config, task.tokenizer, task=TASK, seed=task.seed)
    sparse = is_head_sparse(model, fast_path)
    parts = TrainerParts(
        model=model,
        tokenizer=task.tokenizer,
        collator=PretrainingCollator(
            pad_token_id=task.tokenizer.pad_token_id or 0,
            has_segments=getattr(task.config, "type_vocab_size", 1) > 1,
            sparse=sparse,
        ),
        loss=PretrainingLoss(gathered=sparse),
        train=cast(Any, task.data),
    )
    trainer = build_trainer(parts, task.values, run, fast_path=fast_path)
    trainer.count_items = lambda batch: count_items(batch["labels"])
    trainer.train_sampler = sampler = EpochSampler(task.data, task.seed)
    trainer.add_callback(EpochFollower(cast(Any, sampler)))
    folder = Path(str(trainer.args.output_dir))
    trainer.add_callback(LossFiles(folder, write_losses, writeout_steps=asked.writeout_steps))
    accumulation = trainer.args.gradient_accumulation_steps
    trainer.add_callback(
        IntermediateModels(
            folder,
            task.tokenizer,
            writeout_steps=asked.writeout_steps,
            steps_per_epoch=math.ceil(len(trainer.get_train_dataloader()) / accumulation),
            batch=trainer.args.train_batch_size * trainer.args.world_size * accumulation,
        )
    )
    return trainer


def is_head_sparse(model: PreTrainedModel, fast_path: FastPathArguments) -> bool:
    """Whether `build_trainer` will make the vocabulary head sparse, and batches reach the model whole."""
    several_in_one_process = torch.cuda.device_count() > 1 and "LOCAL_RANK" not in os.environ
    is_off = fast_path.no_fast_path or fast_path.no_sparse_head or several_in_one_process
    return not is_off and has_sparse_head(model)


def show_plan(trainer: Trainer, task: PretrainingTask) -> dict[str, Any]:
    """`--dry_run`: print instances and the estimate; returns the estimate for the last line."""
    assert task.data is not None
    show_instances(task.data.epochs[0], task.tokenizer)
    plan = estimate_plan(trainer)
    print(format_plan(plan))
    return {"dry_run": True, **asdict(plan)}


def write_results(run: Run, task: PretrainingTask, trainer: Trainer) -> dict[str, Any]:
    """Save model, tokenizer and README.md; returns the metrics of the last line."""
    assert run.folder is not None and task.data is not None
    save_trained(trainer)
    losses = logged_losses(trainer.state.log_history)
    metrics = {"first_loss": losses[0][1], "last_loss": losses[-1][1]} if losses else {}
    card = ModelCard(
        name=run.folder.name,
        task="fill-mask",
        base_model=task.model.model_name_or_path,
        dataset="pregenerated next sentences and masked subwords",
        metrics={"train": metrics} if metrics else {},
        headline=(),
        sizes={f"epoch {number}": len(cast(Sized, epoch)) for number, epoch in enumerate(task.data.epochs)},
        facts={name: task.arguments.get(name) for name in CARD_FACTS},
        command=task.arguments.command_line(),
        versions=library_versions(),
    )
    if run.writes:
        write_model_card(run.folder, card)
    return {"steps": trainer.state.global_step, **metrics}
