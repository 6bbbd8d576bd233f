"""Distilling a language model, step by step: check everything, load both models, train, save and export the student."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from transformers import (
    AutoConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    set_seed,
)

from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.arguments.training_table import TrainingValues
from finetune.data.files import fingerprint
from finetune.data.json_values import parse_json
from finetune.distillation.arguments import (
    DistillationArguments,
    LossArguments,
    PredictionArguments,
    ScheduleArguments,
)
from finetune.distillation.binarized import line_template, open_binarized, read_counts
from finetune.distillation.checks import check_data, check_pair, check_relations, resolve_length
from finetune.distillation.collators import DistillationCollator
from finetune.distillation.examples import DistillationExamples
from finetune.distillation.export import begin_run, list_losses, write_export
from finetune.distillation.log import DistillationLog, ExampleEpochs
from finetune.distillation.model import (
    Distillation,
    DistillationLoss,
    Weights,
    count_items,
    count_positions,
)
from finetune.distillation.teacher_cache import CacheRequest, prepare_caches
from finetune.distillation.teacher_cache_files import TeacherRows, count_epochs
from finetune.distillation.teacher_scores import write_teacher
from finetune.distillation.teachers import (
    Teacher,
    freeze_parts,
    is_causal,
    load_teacher,
    read_weights,
    save_weights,
    start_student,
)
from finetune.distillation.weighted_masking import WeightedMasker, smooth_counts
from finetune.encoding.token_store import DESCRIPTION
from finetune.errors import DataError, Problem, ProblemList, UsageError
from finetune.models.building import draw_model
from finetune.models.checks import check_vocabulary
from finetune.models.saving import save_pretrained
from finetune.models.whole_weights import record_weights
from finetune.report.model_card import ModelCard
from finetune.run.failures import first_line, is_of_its_files
from finetune.run.folder import Run
from finetune.run.manifest import library_versions
from finetune.supervised.data_summary import write_length_summary
from finetune.tokenization.loading import load_tokenizer
from finetune.training.building import TrainerParts, build_trainer
from finetune.training.callbacks import CheckpointFiles
from finetune.training.evaluation_schedule import resolve_schedule
from finetune.training.fast_path import prepare_frozen_model, resolve_precision
from finetune.training.length_batches import LengthBatchSampler, use_length_batches

logger = logging.getLogger(__name__)

CARD_FACTS = ("batch_size", "gradient_accumulation_steps", "learning_rate", "seed")

GROUPED_BATCHES = 50  # of shuffled examples are sorted by length together


@dataclass
class DistillationTask:
    """Everything that is checked; nothing in it is wrong."""

    arguments: Arguments
    tokenizer: PreTrainedTokenizerBase
    teacher: Teacher
    student: PreTrainedModel
    examples: DistillationExamples
    rows: TeacherRows  # the examples, with what the teacher answers to them where that is kept
    masker: WeightedMasker | None
    values: TrainingValues

    @property
    def asked(self) -> DistillationArguments:
        return self.arguments[DistillationArguments]


def open_task(arguments: Arguments) -> DistillationTask:
    """Open data, teacher, student and counts, and check them together.

    Raises:
        DataError: with every problem of all of them.
    """
    asked, problems = arguments[DistillationArguments], ProblemList()
    seed = int(arguments.get("seed"))
    set_seed(seed)
    store = problems.attempt(open_binarized, Path(asked.data_file))
    tokenizer = problems.attempt(load_tokenizer, ModelArguments(model_name_or_path=asked.teacher_name))
    teacher = problems.attempt(load_teacher, asked.teacher_name, family=asked.teacher_type)
    config = problems.attempt(read_student_config, asked)
    if teacher is not None and config is not None:
        problems.extend(check_pair(config, teacher, arguments))
    if teacher is not None and tokenizer is not None:
        problems.extend(check_vocabulary(teacher.model.config, tokenizer))
    problems.raise_any()
    assert store is not None and tokenizer is not None and teacher is not None and config is not None
    set_seed(seed)  # again: reading a teacher may have drawn numbers, and the student's first weights come next
    student = problems.attempt(build_student, asked, config)
    examples = problems.attempt(
        DistillationExamples,
        store,
        line_template(tokenizer),
        max_length=resolve_length(asked.max_model_input_size, config, teacher.model.config),
        unknown_id=tokenizer.unk_token_id if tokenizer.unk_token_id != tokenizer.eos_token_id else None,
        seed=seed,
        static=arguments[PredictionArguments].static_masks,
    )
    masker = problems.attempt(build_masker, arguments[PredictionArguments], tokenizer, config)
    problems.extend(check_data(store, tokenizer, asked.teacher_name, config.vocab_size))
    if student is not None:
        problems.extend(check_relations(student, teacher.model, arguments[LossArguments]))
    problems.raise_any()
    assert student is not None and examples is not None
    values = resolve_schedule(arguments.training, has_validation=False)
    return DistillationTask(arguments, tokenizer, teacher, student, examples, TeacherRows(examples), masker, values)


def read_student_config(asked: DistillationArguments) -> PretrainedConfig:
    """The configuration in --student_config, for the family that --student_type names.

    Raises:
        DataError: no such file, no JSON object, no such family, or another one in the file.
    """
    path = Path(asked.student_config)
    path = path / "config.json" if path.is_dir() else path
    try:
        written = parse_json(path.read_text(encoding="utf-8"))
        family = written.pop("model_type", asked.student_type)
        config = AutoConfig.for_model(asked.student_type, **written)
    except Exception as error:
        if not is_of_its_files(error):
            raise
        raise DataError(Problem(f"--student_config cannot be used: {first_line(error)}", path=path)) from error
    if family != asked.student_type:
        raise DataError(Problem(f"--student_type is {asked.student_type}, the file is of a {family} model", path=path))
    if asked.vocab_size is not None:
        config.vocab_size = asked.vocab_size
    if asked.initializer_range is not None:
        config.initializer_range = asked.initializer_range
    return config


def build_masker(
    asked: PredictionArguments, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig
) -> WeightedMasker | None:
    """None for causal models.

    Raises:
        DataError: counts of another vocabulary, or no mask token.
    """
    if not asked.mlm:
        return None
    counts = read_counts(Path(str(asked.token_counts)))
    if len(counts) not in (config.vocab_size, len(tokenizer)):
        found = f"--token_counts has {len(counts):,} entries, the vocabulary {config.vocab_size:,}"
        raise DataError(Problem(found, remedy="count again with --vocab_size", path=asked.token_counts))
    if tokenizer.mask_token_id is None:
        raise DataError(Problem(f"the tokenizer {type(tokenizer).__name__} has no mask token"))
    weights = smooth_counts(counts, asked.mlm_smoothing, tokenizer.all_special_ids)
    shares = (asked.word_mask, asked.word_keep, asked.word_rand)
    return WeightedMasker(tokenizer.mask_token_id, weights, asked.mlm_mask_prop, shares)


def build_student(asked: DistillationArguments, config: PretrainedConfig) -> PreTrainedModel:
    """The student with its head, its first weights, and what is to stay frozen."""
    student = draw_model(config, task="causal_lm" if is_causal(config) else "masked_lm")
    if asked.student_pretrained_weights:
        path = Path(asked.student_pretrained_weights)
        start_student(student, read_weights(path), path)
    freeze_parts(student, positions=asked.freeze_pos_embs, token_types=asked.freeze_token_type_embds)
    return student


def build_distillation_trainer(task: DistillationTask, run: Run) -> Trainer:
    """Student and teacher as one module under the shared Trainer."""
    losses, fast_path = task.arguments[LossArguments], task.arguments[FastPathArguments]
    values = resolve_precision(task.values, fast_path, [task.student.config, task.teacher.model.config])
    weights = Weights(**losses.alphas())
    dtype = prepare_frozen_model(task.teacher.model, fast_path, values, reads_layers=weights.reads_layers)
    set_seed(int(task.arguments.get("seed")))  # the projections are drawn here
    module = Distillation(
        task.student,
        task.teacher.model,
        weights,
        temperature=losses.temperature,
        relation_heads=losses.relation_heads,
        teacher_dtype=dtype,
    )
    loss, folder = DistillationLoss(weights), Path(task.asked.dump_path)
    pad = task.tokenizer.pad_token_id
    compares = weights.ce or weights.mse
    parts = TrainerParts(
        model=cast(Any, module),
        tokenizer=task.tokenizer,
        collator=DistillationCollator(
            pad_token_id=0 if pad is None else pad,
            masker=task.masker,
            labelled_only=losses.restrict_ce_to_mask or not compares,
        ),
        loss=loss,
        train=cast(Any, task.rows),
        callbacks=[
            ExampleEpochs(cast(Any, task.rows)),
            CheckpointFiles(task.student.config.save_pretrained),
            DistillationLog(
                folder, loss, examples=len(task.examples), save=lambda name: save_student(task, folder / name)
            ),
        ],
    )
    plain = replace(fast_path, max_tokens_per_batch=None, length_window=0)  # batches are ours, below
    trainer = build_trainer(parts, values, run, fast_path=plain)
    if trainer.args.n_gpu > 1:
        found = f"{trainer.args.n_gpu} GPUs are visible to one process"
        raise UsageError(
            Problem(found, remedy="drop --multi_gpu off or --nproc 1, so that each GPU has a process of its own")
        )
    trainer.count_items = count_items
    use_length_batches(trainer, build_sampler(task, trainer, fast_path))
    return trainer


def prepare_teacher(task: DistillationTask, trainer: Trainer) -> None:
    """`--cache_teacher`: the teacher answers before training, and is not asked again."""
    losses, prediction = task.arguments[LossArguments], task.arguments[PredictionArguments]
    if losses.cache_teacher is None:
        return
    collator, masker = cast(DistillationCollator, trainer.data_collator), task.masker
    places = hashlib.sha256(task.examples.places.tobytes()).hexdigest()
    weights = None if masker is None else hashlib.sha256(masker.weights.tobytes()).hexdigest()
    masks = None if masker is None else (weights, masker.mask_id, masker.probability, masker.shares, task.examples.seed)
    template = [part.tolist() for part in (task.examples.template.prefix, task.examples.template.suffix)]
    request = CacheRequest(
        Path(losses.teacher_cache_dir or f"{task.asked.data_file.rstrip('/')}.taught"),
        count=losses.cache_teacher,
        answers=int(task.teacher.model.config.get_text_config().vocab_size),
        temperature=losses.temperature,
        facts={
            "data": fingerprint(task.examples.store.folder / DESCRIPTION)["sha256"],
            "examples": (places, template),
            "masks": masks,
            "labelled_only": collator.labelled_only,
        },
        numbers_of=count_positions,
        per_epoch=masker is not None and not prediction.static_masks,
    )
    steps = math.ceil(len(trainer.get_train_dataloader()) / trainer.args.gradient_accumulation_steps)
    epochs = count_epochs(trainer.args.num_train_epochs, trainer.args.max_steps, steps)
    prepare_caches(trainer, cast(Distillation, trainer.model), task.rows, request, epochs)


def build_sampler(task: DistillationTask, trainer: Trainer, fast_path: FastPathArguments) -> LengthBatchSampler:
    """Batches of about equal lengths, or at random."""
    grouped = task.arguments[ScheduleArguments].group_by_size
    return LengthBatchSampler(
        task.examples.lengths,
        batch_size=trainer.args.train_batch_size,
        max_tokens=fast_path.max_tokens_per_batch,
        padded=fast_path.no_unpad or fast_path.no_fast_path,
        window=(fast_path.length_window or GROUPED_BATCHES) if grouped else 0,
        seed=trainer.args.seed,
        processes=trainer.args.world_size,
        rank=trainer.args.process_index,
    )


def start_run(run: Run, task: DistillationTask) -> None:
    """Begin to write; the inputs are those whose fingerprints the manifest keeps."""
    inputs = [Path(task.examples.store.folder) / "store.json"]
    begin_run(run, inputs, task.arguments.effective(), task.student)


def save_student(task: DistillationTask, path: Path) -> Path:
    return save_weights(task.student.state_dict(), path)


def write_results(run: Run, task: DistillationTask, trainer: Trainer) -> dict[str, Any]:
    """The student as a model folder, `pytorch_model.bin` beside it, and the export; returns the last line's metrics."""
    assert run.folder is not None
    if trainer.is_world_process_zero():
        save_pretrained(task.student, task.tokenizer, run.folder)
        logger.info("Save very last checkpoint as `pytorch_model.bin`.")
        save_student(task, run.folder / "pytorch_model.bin")
        record_weights(run.folder)  # that file's too, whether it lay there already or not
        write_length_summary(run.folder, {"train": np.asarray(task.examples.lengths)})
    write_teacher(run, cast(Distillation, trainer.model), task.asked.teacher_name)
    logger.info("Training is finished")
    history = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    metrics = {"steps": trainer.state.global_step, **({"loss": history[-1]} if history else {})}
    if task.asked.export and trainer.is_world_process_zero():
        metrics |= export_student(task, Path(task.asked.export), trainer.state.global_step)
    logger.info("Let's go get some drinks.")
    return metrics


def export_student(task: DistillationTask, folder: Path, steps: int) -> dict[str, Any]:
    """The encoder alone with tokenizer, vocabulary and model card: what `AutoModel.from_pretrained` loads."""
    losses, facts = task.arguments[LossArguments], {name: task.arguments.get(name) for name in CARD_FACTS}
    card = ModelCard(
        name=folder.name,
        task="feature-extraction",  # no head is handed on
        base_model=task.asked.teacher_name,
        dataset=Path(task.asked.data_file).name,
        metrics={},
        headline=(),
        sizes={"train": len(task.examples)},
        facts={"losses": list_losses(losses.alphas(), losses.temperature), "steps": steps, **facts},
        command=task.arguments.command_line(),
        versions=library_versions(),
    )
    models = {"student": task.student, "teacher": task.teacher.model}
    encoders = {name: cast(PreTrainedModel, model.base_model) for name, model in models.items()}
    metrics = write_export(folder, encoders, task.tokenizer, card)
    return {"export": str(folder), **{name.replace(" ", "_"): value for name, value in metrics.items()}}
