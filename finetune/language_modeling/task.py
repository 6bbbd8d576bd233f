"""Language modelling, step by step in the order data flows: what run_mlm, run_clm and run_language_modeling share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, cast

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, Trainer

from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.parser import Arguments
from finetune.arguments.training_table import TrainingValues
from finetune.encoding.corpus import CorpusSettings
from finetune.encoding.documents import DocumentRules, TextEnds, find_text_ends
from finetune.encoding.masking import Masker
from finetune.encoding.token_store import TokenStore
from finetune.errors import DataError, Problem, ProblemList, UsageError
from finetune.language_modeling.arguments import LanguageModelArguments, TextArguments
from finetune.language_modeling.collators import CausalCollator, MaskingCollator
from finetune.language_modeling.losses import (
    LanguageEvaluation,
    MaskedLoss,
    NextTokenLoss,
    StreamedExamples,
    score_language,
)
from finetune.language_modeling.models import build_language_model, check_language_weights, load_language_config
from finetune.language_modeling.text import (
    SEED_OF_VALIDATION,
    StreamedTexts,
    TextFiles,
    find_texts,
    hold_out,
    prepare_texts,
)
from finetune.models.checks import (
    check_head,
    check_max_length,
    check_objective,
    check_vocabulary,
    find_position_limit,
    resolve_max_length,
)
from finetune.models.families import has_sparse_head
from finetune.run.engines import find_engine, release_engine
from finetune.run.folder import Run
from finetune.run.launcher import count_processes
from finetune.tokenization.loading import load_tokenizer
from finetune.training.building import TrainerParts, build_trainer
from finetune.training.dry_run import estimate_plan, format_plan
from finetune.training.evaluation_schedule import resolve_schedule
from finetune.training.length_batches import EpochFollower
from finetune.training.losses import take_label_smoothing
from finetune.training.saving import save_trained

logger = logging.getLogger(__name__)

SPACE_TOKEN = "<_>"
LONGEST_CAUSAL_BLOCK = 1024
EXAMPLES_SHOWN, SUBWORDS_SHOWN = 3, 60
READ_BY_EACH = {"dispatch_batches": False}  # setting of accelerate, for streams


class Objective(StrEnum):
    """What is predicted: masked tokens, or each next one."""

    MASKED = "masked_lm"
    CAUSAL = "causal_lm"


@dataclass(frozen=True)
class TaskDefinition:
    """What a command knows before it reads anything.

    `length_flag` names `length` in messages. `settings` gives the packing for a length. `documents_apart`: tokens
    see only their own document. The rest is for masking.
    """

    objective: Objective
    length: int | None
    length_flag: str
    settings: Callable[[int], CorpusSettings]
    probability: float = 0.15
    whole_words: bool = False
    pad_to_max_length: bool = False
    references: dict[str, str | None] = field(default_factory=dict)
    documents_apart: bool = False


@dataclass
class LanguageTask:
    """Everything that is known before weights are read; nothing in it is wrong."""

    arguments: Arguments
    definition: TaskDefinition
    tokenizer: PreTrainedTokenizerBase
    config: PretrainedConfig
    values: TrainingValues  # TrainingArguments by name, settled
    max_length: int
    files: TextFiles
    train: TokenStore | StreamedExamples | None = None
    validation: TokenStore | None = None

    @property
    def seed(self) -> int:
        return int(self.arguments.get("seed", 42))


def open_task(arguments: Arguments, definition: TaskDefinition) -> LanguageTask:
    """Find the text, open tokenizer and configuration, check them together, and tokenize.

    Raises:
        DataError: with every problem of all of them.
    """
    problems = ProblemList()
    model, text = arguments[LanguageModelArguments], arguments[TextArguments]
    files = problems.attempt(find_texts, text)
    tokenizer = problems.attempt(load_tokenizer, model, space_token=SPACE_TOKEN if text.add_space_token else None)
    config = problems.attempt(load_language_config, model, tokenizer)
    problems.extend(check_language_weights(model))
    has_validation = bool(arguments.training.get("do_eval")) and (files is None or can_validate(files, text))
    values = problems.attempt(resolve_schedule, arguments.training, has_validation=has_validation)
    if config is not None:
        causal = definition.objective is Objective.CAUSAL
        problems.extend(check_head(config, definition.objective) or check_objective(config, causal=causal))
        problems.extend(check_length(definition, config))
    if config is not None and tokenizer is not None:
        problems.extend(check_vocabulary(config, tokenizer))
    rules = definition.settings(LONGEST_CAUSAL_BLOCK).documents
    ends = problems.attempt(find_text_ends, tokenizer, rules) if tokenizer is not None and rules is not None else None
    if tokenizer is not None and definition.objective is Objective.MASKED:
        problems.attempt(Masker.for_tokenizer, tokenizer)
    problems.raise_any(DataError)
    assert files is not None and tokenizer is not None and config is not None and values is not None
    if rules is not None and ends is not None and definition.objective is Objective.CAUSAL:
        tell_text_unit(rules, ends, tokenizer)
    max_length = resolve_length(definition, config, tokenizer)
    task = LanguageTask(arguments, definition, tokenizer, config, values, max_length, files)
    prepare_splits(task, has_validation=has_validation)
    return task


def tell_text_unit(rules: DocumentRules, ends: TextEnds, tokenizer: PreTrainedTokenizerBase) -> None:
    """What is tokenized by itself, and what stands around it."""
    if rules.in_blocks:
        logger.info("The text of each file is tokenized whole; special tokens stand around blocks.")
        return
    around = "document" if rules.around_documents else rules.unit
    before, after = (" ".join(tokenizer.convert_ids_to_tokens(list(ids))) for ids in (ends.prefix, ends.suffix))
    logger.info(f"Each {rules.unit} is tokenized by itself (--text_unit).")
    logger.info(
        f"Each {around} begins with {before or 'no token of its own'} (--add_bos_token) and ends with "
        f"{after or 'no token of its own'} (--add_eos_token)."
    )


def can_validate(files: TextFiles, text: TextArguments) -> bool:
    return bool(files.validation) or bool(files.train and text.validation_split_percentage)


def check_length(definition: TaskDefinition, config: PretrainedConfig) -> list[Problem]:
    return [
        replace(
            problem,
            found=problem.found.replace("--max_length", definition.length_flag),
            remedy="nothing is lost by less",
        )
        for problem in check_max_length(definition.length, config)
    ]


def resolve_length(definition: TaskDefinition, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """What was typed, else what model and tokenizer allow (causal models: at most 1024, as in run_clm.py)."""
    length = resolve_max_length(definition.length, config, tokenizer)
    if definition.length is None and definition.objective is Objective.CAUSAL:
        return min(find_position_limit(config) or length, LONGEST_CAUSAL_BLOCK)
    return length


def prepare_splits(task: LanguageTask, *, has_validation: bool) -> None:
    """Tokenize the text, or find it tokenized; hold examples out where there is no text to validate on.

    Raises:
        UsageError: an engine is to tokenize what is tokenized while training.
    """
    if task.arguments[TextArguments].streaming and find_engine() is not None:
        found = "--engine ray tokenizes before training, and --streaming while training"
        raise UsageError(Problem(found, remedy="drop one of them"))
    try:
        _prepare_splits(task, has_validation=has_validation)
    finally:
        release_engine()


def _prepare_splits(task: LanguageTask, *, has_validation: bool) -> None:
    text, definition, settings = (
        task.arguments[TextArguments],
        task.definition,
        task.definition.settings(task.max_length),
    )
    trains = bool(task.arguments.training.get("do_train")) or text.build_dataset_only
    if has_validation or text.build_dataset_only:
        task.validation = prepare_texts(
            task.files.validation,
            task.tokenizer,
            settings,
            text,
            seed=task.seed + SEED_OF_VALIDATION,
            references=definition.references.get("validation"),
        )
        task.validation = task.validation.fixed() if task.validation is not None else None
    if not trains:
        return
    if not task.files.train:
        raise DataError(Problem(f"{text.dataset_name} has no train split", remedy="choose another data set"))
    if text.streaming:
        stream = StreamedTexts.of(task.files.train, task.tokenizer, settings, seed=task.seed)
        task.train = StreamedExamples(stream, seed=task.seed)
        return
    train = prepare_texts(
        task.files.train, task.tokenizer, settings, text, seed=task.seed, references=definition.references.get("train")
    )
    if train is not None and has_validation and task.validation is None:
        train, task.validation = hold_out(train, text.validation_split_percentage)
    task.train = train.part(0, text.max_train_samples) if train is not None else None
    if task.validation is not None:
        task.validation = task.validation.part(0, text.max_eval_samples)


def describe_stores(task: LanguageTask) -> dict[str, Any]:
    """`--build_dataset_only`: where the tokenized text lies, and how much of it there is."""
    stores = {"train": task.train, "validation": task.validation}
    facts = {}
    for name, store in stores.items():
        if isinstance(store, TokenStore):
            print(f"{name}: {len(store):,} examples of at most {task.max_length:,} ids in {store.folder}")
            facts[name] = {"examples": len(store), "folder": str(store.folder), **store.counts}
    return facts


def build_language_trainer(task: LanguageTask, run: Run) -> Trainer:
    """Load the model, or draw it anew, and build the Trainer of this task."""
    model = build_language_model(
        task.arguments[LanguageModelArguments],
        task.config,
        task.tokenizer,
        task=task.definition.objective,
        seed=task.seed,
    )
    smoothing, values = take_label_smoothing(task.values)
    # Sums are all that evaluation keeps of the logits, so that perplexity costs nothing beside the loss alone.
    values.pop("prediction_loss_only", None)
    if isinstance(task.train, StreamedExamples):
        # Each of several processes reads the stream and takes its rows: whole batches cannot be cut up behind the collator.
        values = {"accelerator_config": READ_BY_EACH, **values}
    collator = build_collator(task, model)
    loss: MaskedLoss | NextTokenLoss = NextTokenLoss(None, smoothing)
    if isinstance(collator, MaskingCollator):
        loss = MaskedLoss(smoothing, gathered=collator.sparse == "positions")
    parts = TrainerParts(
        model=model,
        tokenizer=task.tokenizer,
        collator=collator,
        loss=loss,
        train=cast(Any, task.train),
        validation=cast(Any, task.validation),
        compute_metrics=score_language,
        evaluation=LanguageEvaluation(loss),
        callbacks=[EpochFollower(cast(Any, task.train))] if isinstance(task.train, TokenStore) else [],
    )
    trainer = build_trainer(parts, values, run, fast_path=task.arguments[FastPathArguments])
    if isinstance(task.train, StreamedExamples):
        task.train.batch = trainer.args.train_batch_size * trainer.args.world_size
    return trainer


def build_collator(task: LanguageTask, model: PreTrainedModel) -> MaskingCollator | CausalCollator:
    tokenizer, definition = task.tokenizer, task.definition
    pad_id = next((index for index in (tokenizer.pad_token_id, tokenizer.eos_token_id) if index is not None), 0)
    if definition.objective is Objective.CAUSAL:
        if definition.documents_apart:
            require_documents_apart(model)
        return CausalCollator(pad_token_id=pad_id, apart=definition.documents_apart)
    masker = Masker.for_tokenizer(tokenizer, probability=definition.probability, whole_words=definition.whole_words)
    return MaskingCollator(
        masker,
        pad_token_id=pad_id,
        padding_side=tokenizer.padding_side,
        max_length=task.max_length if definition.pad_to_max_length else None,
        sparse=choose_sparse_labels(model, task),
    )


def choose_sparse_labels(model: PreTrainedModel, task: LanguageTask) -> Any:
    """How the collator marks predicted positions for a sparse head; not at all where the head stays full."""
    fast_path = task.arguments[FastPathArguments]
    processes = count_processes()
    several_in_one_process = torch.cuda.device_count() > 1 and processes == 1
    is_cut_up = processes > 1 and task.values.get("accelerator_config", READ_BY_EACH) != READ_BY_EACH
    is_off = fast_path.no_fast_path or fast_path.no_sparse_head or several_in_one_process or is_cut_up
    if is_off or not has_sparse_head(model):
        return ""
    return "selected" if processes == 1 and not isinstance(task.train, StreamedExamples) else "positions"


@torch.no_grad()
def require_documents_apart(model: PreTrainedModel) -> None:
    """Positions that start anew must keep a document from seeing the one before; tried out on the model itself.

    Raises:
        DataError: this architecture sees across them.
    """
    ids = torch.arange(1, 9, device=model.device)[None] % model.config.get_text_config().vocab_size
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]], device=model.device)
    was_training = model.training
    model.eval()
    try:
        together = model(input_ids=ids, position_ids=positions, use_cache=False).logits[:, 4:]
        alone = model(input_ids=ids[:, 4:], position_ids=positions[:, 4:], use_cache=False).logits
        apart = torch.allclose(together, alone, atol=1e-4)
    except TypeError:  # no position_ids
        apart = False
    model.train(was_training)
    if not apart:
        found = f"{type(model).__name__} cannot keep the documents of one example apart"
        raise DataError(Problem(found, remedy="drop --document_attention"))


def show_plan(trainer: Trainer, task: LanguageTask) -> dict[str, Any]:
    """`--dry_run`: print examples and the estimate; returns the estimate for the last line."""
    dataset = trainer.train_dataset if trainer.train_dataset is not None else trainer.eval_dataset
    for number, example in zip(range(EXAMPLES_SHOWN), cast(Any, dataset), strict=False):
        subwords = task.tokenizer.convert_ids_to_tokens(example["input_ids"].tolist())
        more = " ..." if len(subwords) > SUBWORDS_SHOWN else ""
        print(f"Example {number + 1}: {len(subwords)} subwords\n  {' '.join(subwords[:SUBWORDS_SHOWN])}{more}")
    if not isinstance(task.train, TokenStore):
        return {"dry_run": True}
    plan = estimate_plan(trainer)
    print(format_plan(plan))
    return {"dry_run": True, **asdict(plan)}


def save_language_model(trainer: Trainer) -> None:
    """Model and tokenizer, in the output folder."""
    save_trained(trainer)
