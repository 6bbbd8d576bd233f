"""What can be said against a student and its teacher before anything is trained: vocabularies, heads, lengths, losses."""

from __future__ import annotations

import logging
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.distillation.arguments import DistillationLossArguments, LossArguments, PredictionArguments
from finetune.distillation.comparing import describe_difference
from finetune.distillation.model import find_projections
from finetune.distillation.teachers import Teacher, check_language_head, is_causal
from finetune.encoding.subwords import tokenizer_fingerprint
from finetune.encoding.token_store import TokenStore
from finetune.errors import DataError, Problem, UsageError
from finetune.models.families import find_position_limit
from finetune.tokenization.loading import load_tokenizer

logger = logging.getLogger(__name__)


def check_pair(config: PretrainedConfig, teacher: Teacher, arguments: Arguments) -> list[Problem]:
    """One vocabulary, one objective, and a head that was trained where logits are compared."""
    losses, mlm = arguments[LossArguments], arguments[PredictionArguments].mlm
    theirs = teacher.model.config
    problems: list[Problem] = []
    if config.vocab_size != theirs.vocab_size:
        found = f"the student has {config.vocab_size:,} entries in its vocabulary, the teacher {theirs.vocab_size:,}"
        problems.append(Problem(found, "both read the same ids", f"say --vocab_size {theirs.vocab_size}"))
    problems += check_language_head(config)
    for name, model in (("student", config), ("teacher", theirs)):
        if is_causal(model) == mlm:
            found = f"the {name} is a {model.model_type} model and --mlm is {'given' if mlm else 'not given'}"
            allowed = "--mlm is for models that are masked, not for those that predict what follows"
            problems.append(Problem(found, allowed))
    compares = [f"--alpha_{name}" for name in ("ce", "mse") if getattr(losses, f"alpha_{name}")]
    if compares and not teacher.has_head:
        found = f"{' and '.join(compares)} compare logits, but the teacher's checkpoint has no trained head"
        allowed = "--alpha_mlm, --alpha_cos, --alpha_hidden and --alpha_relation need none"
        problems.append(Problem(found, allowed, f"say {' '.join(f'{flag} 0' for flag in compares)}"))
    return problems


def check_data(store: TokenStore, tokenizer: PreTrainedTokenizerBase, teacher_name: str, rows: int) -> list[Problem]:
    """The ids must be those of the teacher: its vocabulary of `rows` entries, and its tokenizer as far as it is known."""
    largest, problems = int(store._tokens.max()), []
    remedy = f"binarize the text with the teacher's tokenizer (--tokenizer_name {teacher_name})"
    if largest >= rows:
        found = f"the data holds the id {largest:,}, beyond the teacher's vocabulary of {rows:,}"
        problems.append(Problem(found, remedy=remedy, path=store.folder))
    made_with: dict[str, Any] | None = store.description.get("tokenizer")
    if made_with and made_with["sha256"] != tokenizer_fingerprint(tokenizer):
        problems += check_tokenizer(made_with, tokenizer, store, remedy)
    return problems


def check_tokenizer(
    made_with: dict[str, Any], tokenizer: PreTrainedTokenizerBase, store: TokenStore, remedy: str
) -> list[Problem]:
    """Tokenizers that differ may share a vocabulary all the same: then that is said, and the ids are right."""
    name, size = made_with["name"], made_with["size"]
    try:
        other = load_tokenizer(ModelArguments(model_name_or_path=name))
        difference = describe_difference(other, tokenizer, ("the data", "the teacher"))
    except DataError:
        entries = f"the data has {size:,} entries, the teacher {len(tokenizer):,}"
        difference = None if size == len(tokenizer) else entries
    if difference is not None:
        found = f"the text was binarized with the tokenizer {name}, whose vocabulary is not the teacher's: {difference}"
        return [Problem(found, remedy=remedy, path=store.folder)]
    logger.warning(
        "The text was binarized with the tokenizer %s, which cuts text by other rules than the teacher's, or can no longer "
        "be opened; its vocabulary has as many entries.", name
    )  # fmt: skip
    return []


def check_relations(
    student: PreTrainedModel, teacher: PreTrainedModel, losses: DistillationLossArguments
) -> list[Problem]:
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


def resolve_length(typed: int | None, *configs: PretrainedConfig) -> int:
    """What was typed, at most what both models have positions for.

    Raises:
        UsageError: more than that.
    """
    limit = min((found for found in map(find_position_limit, configs) if found), default=typed or 512)
    if typed is not None and typed > limit:
        found = f"--max_model_input_size {typed} is more than the {limit} positions that both models have"
        raise UsageError(Problem(found, f"allowed: up to {limit}"))
    return typed or limit
