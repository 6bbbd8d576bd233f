"""Distilling a language model, step by step: judge everything, load both models, train, save and export the student."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    set_seed,
)

from finetune.arguments.distillation import (
    DistillationArguments,
    LossArguments,
    PredictionArguments,
    RhythmArguments,
)
from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.collators import DistillationCollator
from finetune.encoding.binarized import line_frame, open_binarized, read_counts
from finetune.encoding.distillation_examples import DistillationExamples
from finetune.encoding.weighted_masking import WeightedMasker, smooth_counts
from finetune.errors import DataError, Problem, ProblemList, UsageError
from finetune.models.judging import find_position_limit
from finetune.models.teachers import (
    Teacher,
    find_part,
    freeze,
    is_causal,
    load_teacher,
    read_weights,
    save_weights,
    start_student,
)
from finetune.models.unpadding.doors import unpad_encoder
from finetune.report.model_card import ModelCard, write_model_card
from finetune.run.folder import Run
from finetune.run.manifest import library_versions, write_json_atomically
from finetune.tokenization.loading import load_tokenizer
from finetune.training.building import TrainerParts, build_trainer
from finetune.training.cadence import settle_cadence
from finetune.training.callbacks import CheckpointFiles
from finetune.training.distillation import (
    Distillation,
    DistillationLoss,
    Weights,
    count_all_losses,
    find_projections,
)
from finetune.training.distillation_log import DistillationLog, ExampleEpochs
from finetune.training.fast_path import settle_precision
from finetune.training.length_batches import LengthBatchSampler, use_length_batches

logger = logging.getLogger(__name__)

GROUPED_BATCHES = 50  # of shuffled examples are sorted by length together
TIMED = (8, 64)  # texts and ids of what speed is measured on


@dataclass
class DistillationTask:
    """Everything that is judged; nothing in it is wrong."""

    arguments: Arguments
    tokenizer: PreTrainedTokenizerBase
    teacher: Teacher
    student: PreTrainedModel
    examples: DistillationExamples
    masker: WeightedMasker | None
    values: dict[str, Any]

    @property
    def asked(self) -> DistillationArguments:
        return self.arguments[DistillationArguments]


def open_task(arguments: Arguments) -> DistillationTask:
    """Open data, teacher, student and counts, and judge them together.

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
        problems.extend(judge_pair(config, teacher, arguments))
    problems.raise_any()
    assert store is not None and tokenizer is not None and teacher is not None and config is not None
    student = problems.attempt(build_student, asked, config)
    examples = problems.attempt(
        DistillationExamples,
        store,
        line_frame(tokenizer),
        max_length=settle_length(asked.max_model_input_size, config, teacher.model.config),
        unknown_id=tokenizer.unk_token_id if tokenizer.unk_token_id != tokenizer.eos_token_id else None,
        seed=seed,
    )
    masker = problems.attempt(build_masker, arguments[PredictionArguments], tokenizer, config)
    if store._tokens.max() >= config.vocab_size:
        found = f"the data holds the id {int(store._tokens.max()):,}, beyond the vocabulary of {config.vocab_size:,}"
        problems.append(Problem(found, remedy="binarize the text with the teacher's tokenizer", path=store.folder))
    if student is not None:
        problems.extend(judge_relations(student, teacher.model, arguments[LossArguments]))
    problems.raise_any()
    assert student is not None and examples is not None
    values = settle_cadence(arguments.training, has_validation=False)
    return DistillationTask(arguments, tokenizer, teacher, student, examples, masker, values)


def read_student_config(asked: DistillationArguments) -> PretrainedConfig:
    """The configuration in --student_config, for the family that --student_type names.

    Raises:
        DataError: no such file, no JSON object, no such family, or another one in the file.
    """
    path = Path(asked.student_config)
    path = path / "config.json" if path.is_dir() else path
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        family = written.pop("model_type", asked.student_type)
        config = AutoConfig.for_model(asked.student_type, **written)
    except (OSError, ValueError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(Problem(f"--student_config cannot be used: {reason}", path=path)) from error
    if family != asked.student_type:
        raise DataError(Problem(f"--student_type is {asked.student_type}, the file is of a {family} model", path=path))
    if asked.initializer_range is not None:
        config.initializer_range = asked.initializer_range
    return config


def judge_pair(config: PretrainedConfig, teacher: Teacher, arguments: Arguments) -> list[Problem]:
    """One vocabulary, one objective, and a head that was trained where logits are compared."""
    losses, mlm = arguments[LossArguments], arguments[PredictionArguments].mlm
    theirs, problems = teacher.model.config, []
    if config.vocab_size != theirs.vocab_size:
        found = f"the student has {config.vocab_size:,} entries in its vocabulary, the teacher {theirs.vocab_size:,}"
        problems.append(Problem(found, "both read the same ids", f"write {theirs.vocab_size} into --student_config"))
    for name, model in (("student", config), ("teacher", theirs)):
        if is_causal(model) == mlm:
            found = f"the {name} is a {model.model_type} model and --mlm is {'given' if mlm else 'not given'}"
            problems.append(
                Problem(found, "--mlm is for models that are masked, not for those that predict what follows")
            )
    compares = [f"--alpha_{name}" for name in ("ce", "mse") if getattr(losses, f"alpha_{name}")]
    if compares and not teacher.has_head:
        found = f"{' and '.join(compares)} compare logits, but the teacher's checkpoint has no trained head"
        allowed = "--alpha_mlm, --alpha_cos, --alpha_hidden and --alpha_relation need none"
        problems.append(Problem(found, allowed, f"say {' '.join(f'{flag} 0' for flag in compares)}"))
    return problems


def judge_relations(student: PreTrainedModel, teacher: PreTrainedModel, losses: LossArguments) -> list[Problem]:
    """Relations need queries, keys and values of their own, and heads that divide both widths."""
    if not losses.alpha_relation:
        return []
    problems = [
        Problem(f"--alpha_relation: queries, keys and values of a {model.config.model_type} model are not apart")
        for model in (student, teacher)
        if not find_projections(model)
    ]
    widths = [int(model.config.hidden_size) for model in (student, teacher)]
    if losses.relation_heads and any(width % losses.relation_heads for width in widths):
        found = f"--relation_heads {losses.relation_heads} does not divide the widths {widths[0]} and {widths[1]}"
        problems.append(Problem(found, remedy="drop it: a number that does is chosen"))
    return problems


def settle_length(typed: int | None, *configs: PretrainedConfig) -> int:
    """What was typed, at most what both models have positions for.

    Raises:
        UsageError: more than that.
    """
    limit = min((found for found in map(find_position_limit, configs) if found), default=typed or 512)
    if typed is not None and typed > limit:
        found = f"--max_model_input_size {typed} is more than the {limit} positions that both models have"
        raise UsageError(Problem(found, f"allowed: up to {limit}"))
    return typed or limit


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
    auto_class = AutoModelForCausalLM if is_causal(config) else AutoModelForMaskedLM
    student: PreTrainedModel = auto_class.from_config(config)
    if asked.student_pretrained_weights:
        path = Path(asked.student_pretrained_weights)
        start_student(student, read_weights(path), path)
    if asked.freeze_pos_embs or getattr(config, "sinusoidal_pos_embds", False):
        freeze(find_part(student, "position_embeddings", "wpe"), "position embeddings")
    if asked.freeze_token_type_embds:
        freeze(find_part(student, "token_type_embeddings"), "token type embeddings")
    return student


def build_distillation_trainer(task: DistillationTask, run: Run) -> Trainer:
    """Student and teacher as one module under the shared Trainer."""
    losses, fast_path = task.arguments[LossArguments], task.arguments[FastPathArguments]
    values = settle_precision(task.values, fast_path)
    weights = Weights(**losses.alphas())
    if not fast_path.no_fast_path and not fast_path.no_unpad:
        unpad_encoder(task.teacher.model)
    module = Distillation(
        task.student,
        task.teacher.model,
        weights,
        temperature=losses.temperature,
        relation_heads=losses.relation_heads,
        teacher_dtype=choose_teacher_dtype(values),
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
        train=cast(Any, task.examples),
        callbacks=[
            ExampleEpochs(cast(Any, task.examples)),
            CheckpointFiles(task.student.config.save_pretrained),
            DistillationLog(folder, loss, lambda name: save_student(task, folder / name), examples=len(task.examples)),
        ],
    )
    plain = replace(fast_path, max_tokens_per_batch=None, length_window=0)  # batches are ours, below
    trainer = build_trainer(parts, values, run, fast_path=plain)
    if trainer.args.n_gpu > 1:
        found = f"{trainer.args.n_gpu} GPUs are visible to one process"
        raise UsageError(Problem(found, remedy="start one process each: torchrun --nproc_per_node N train.py ..."))
    count_all_losses(trainer)
    use_length_batches(trainer, build_sampler(task, trainer, fast_path))
    return trainer


def choose_teacher_dtype(values: dict[str, Any]) -> torch.dtype:
    """The short format of the run: the teacher is never trained and needs no float32 weights."""
    return torch.bfloat16 if values.get("bf16") else torch.float16 if values.get("fp16") else torch.float32


def build_sampler(task: DistillationTask, trainer: Trainer, fast_path: FastPathArguments) -> LengthBatchSampler:
    """Batches of about equal lengths, or at random."""
    grouped = task.arguments[RhythmArguments].group_by_size
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
    """Begin to write: parameters.json and the student's configuration first."""
    run.record_inputs([Path(task.examples.store.folder) / "store.json"])
    run.start()
    assert run.folder is not None
    logger.info("Experiment will be dumped and logged in %s", run.folder)
    write_json_atomically(run.folder / "parameters.json", task.arguments.effective())
    task.student.config.save_pretrained(run.folder)


def save_student(task: DistillationTask, path: Path) -> Path:
    return save_weights(task.student.state_dict(), path)


def write_results(run: Run, task: DistillationTask, trainer: Trainer) -> dict[str, Any]:
    """The student as a model folder, `pytorch_model.bin` beside it, and the export; returns the last line's figures."""
    assert run.folder is not None
    if trainer.is_world_process_zero():
        task.student.save_pretrained(run.folder)
        task.tokenizer.save_pretrained(run.folder)
        logger.info("Save very last checkpoint as `pytorch_model.bin`.")
        save_student(task, run.folder / "pytorch_model.bin")
    logger.info("Training is finished")
    history = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    figures = {"steps": trainer.state.global_step, **({"loss": history[-1]} if history else {})}
    if task.asked.export and trainer.is_world_process_zero():
        figures |= export_student(task, Path(task.asked.export))
    logger.info("Let's go get some drinks.")
    return figures


def export_student(task: DistillationTask, folder: Path) -> dict[str, Any]:
    """The encoder alone with tokenizer, vocabulary and model card: what `AutoModel.from_pretrained` loads."""
    encoder = cast(PreTrainedModel, task.student.base_model)
    encoder.save_pretrained(folder)
    task.tokenizer.save_pretrained(folder)
    vocabulary = task.tokenizer.convert_ids_to_tokens(list(range(len(task.tokenizer))))
    if "bert" in type(task.tokenizer).__name__.lower() and "[CLS]" in vocabulary:
        (folder / "vocab.txt").write_text("\n".join(map(str, vocabulary)) + "\n", encoding="utf-8")
    models = {"student": encoder, "teacher": cast(PreTrainedModel, task.teacher.model.base_model)}
    sizes = {f"{name} parameters": model.num_parameters() for name, model in models.items()}
    speeds = {f"{name} texts per second": measure_speed(model) for name, model in models.items()}
    card = ModelCard(
        name=folder.name,
        task="fill-mask" if task.masker else "text-generation",
        base_model=task.asked.teacher_name,
        dataset=Path(task.asked.data_file).name,
        figures={"distillation": {**sizes, **speeds}},
        headline=(),
        sizes={"train": len(task.examples)},
        facts={name: task.arguments.get(name) for name in ("n_epoch", "batch_size", "learning_rate", "seed")},
        command=task.arguments.command_line(),
        versions=library_versions(),
        notes=(f"Speed: {TIMED[0]} texts of {TIMED[1]} ids a batch, float32, {torch.get_num_threads()} threads.",),
    )
    write_model_card(folder, card)
    logger.info("The student can be handed on from %s.", folder)
    return {"export": str(folder), **{name.replace(" ", "_"): value for name, value in (sizes | speeds).items()}}


@torch.inference_mode()
def measure_speed(model: PreTrainedModel) -> float:
    """Texts a second, the best of three batches after one to warm up."""
    model = model.float().eval()
    length = min(TIMED[1], find_position_limit(model.config) or TIMED[1])
    ids = torch.full((TIMED[0], length), 5 % model.config.vocab_size, device=model.device)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        model(input_ids=ids).last_hidden_state.sum().item()
        seconds.append(time.perf_counter() - start)
    return round(TIMED[0] / min(seconds[1:]), 1)
