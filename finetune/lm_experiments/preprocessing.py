"""What is done to encoded texts before a model sees them: which tokens are hidden, and what it must say there.

Each function takes a batch as a dictionary of arrays (rows, length): `input_ids`, `attention_mask`, perhaps `labels`; and
the tokenizer. It returns a new dictionary. Labels that are there already are kept. What is random is drawn from `rng`.
A function that makes several rows of one returns `expanded_lengths` too: rows per example, padded with -1. `context`,
where it is there, marks tokens of a window that are there to be read: none is hidden, and none has a label in the end.

Own functions work the same way: `def mine(inputs, tokenizer, *, rng, **kwargs) -> dict`, named by
`--allow_import my_module --data_preprocessing_fn my_module.mine`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from finetune.arguments.nearest import allowed_values
from finetune.errors import DataError, Problem, UsageError
from finetune.lm_experiments.span_corruption import (
    IGNORED,
    Flags,
    Ids,
    TokenRoles,
    choose_random,
    corrupt_spans,
    draw_spans,
    first_of_runs,
)

Batch = dict[str, Any]
CONTEXT = "context"  # array of windows of long texts: 1 where a token is predicted in the window before
REPLACEMENTS = ("mask", "random", "original")
MASK_MOSTLY = {"mask": 0.8, "random": 0.1, "original": 0.1}  # Devlin et al. 2019


def call_preprocessing(
    function: Callable[..., Batch],
    inputs: Batch,
    tokenizer: PreTrainedTokenizerBase,
    kwargs: Mapping[str, Any],
    *,
    rng: np.random.Generator,
    model: object = None,
) -> Batch:
    """One function over one batch; it gets `rng` and `model` where it asks for them."""
    asked = inspect.signature(function).parameters
    given = {name: value for name, value in {"rng": rng, "model": model}.items() if name in asked}
    if "mask_fn" in asked:  # it passes on to another one
        given["rng"] = rng
    return function(inputs, tokenizer, **given, **kwargs)


def check_keywords(
    function: Callable[..., Any], kwargs: Mapping[str, Any], flag: str, own: Sequence[str]
) -> list[Problem]:
    """The problems of keywords that a user gives to a function or class: unknown ones, missing ones.

    `own` are parameters that the caller fills in.
    """
    asked = inspect.signature(function).parameters.values()
    names = [item.name for item in asked if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)]
    takes_any = any(item.kind is item.VAR_KEYWORD for item in asked)
    free = [name for name in names if name not in own]
    unknown = [] if takes_any else [name for name in kwargs if name not in free]
    missing = [
        item.name for item in asked if item.name in free and item.default is item.empty and item.name not in kwargs
    ]
    title = getattr(function, "__name__", str(function))
    problems = [Problem(f"{title} does not take {flag}.{name}", allowed_values(name, free)) for name in unknown]
    return problems + [Problem(f"{title} needs {flag}.{name}") for name in missing]


def identity(inputs: Batch, tokenizer: PreTrainedTokenizerBase) -> Batch:
    """The inputs unchanged; without labels each token is its own label, padding none."""
    del tokenizer  # the signature is that of all
    if "labels" in inputs:
        return dict(inputs)
    return {**inputs, "labels": np.where(_attended(inputs), inputs["input_ids"], IGNORED)}


def remove_non_mask_tokens_from_labels(inputs: Batch, tokenizer: PreTrainedTokenizerBase) -> Batch:
    """Labels only where the input shows a mask: for texts with masks of their own.

    Raises:
        DataError: the tokenizer has no mask; labels are missing, or not as long as the inputs.
    """
    mask = _mask_id(TokenRoles.of(tokenizer), "remove_non_mask_tokens_from_labels")
    labels = inputs.get("labels")
    if labels is None or labels.shape != inputs["input_ids"].shape:
        found = "the labels are missing" if labels is None else f"labels are {labels.shape[1]} tokens long"
        allowed = f"each of the {inputs['input_ids'].shape[1]} tokens of a text needs one"
        raise DataError(Problem(found, allowed, "give the whole text as labels, with words of as many tokens"))
    return {**inputs, "labels": np.where(inputs["input_ids"] == mask, labels, IGNORED)}


def mask_random_tokens(
    inputs: Batch,
    tokenizer: PreTrainedTokenizerBase,
    *,
    mask_prop: float = 0.15,
    replacement_props: Mapping[str, float] | None = None,
    rng: np.random.Generator,
) -> Batch:
    """BERT's objective: max(round(mask_prop * tokens), 1) tokens of each text are predicted.

    Args:
        inputs: `input_ids` and `attention_mask` (rows, length), perhaps `labels`.
        tokenizer: that of the model.
        mask_prop: share of the tokens that are no special tokens.
        rng: where draws come from.
        replacement_props: shares of those that show the mask, a random token, and themselves; they add up to 1.

    Raises:
        UsageError: shares that are none.
        DataError: the tokenizer has no mask.
    """
    shares = dict(replacement_props or MASK_MOSTLY)
    _require_shares(mask_prop, shares)
    roles = TokenRoles.of(tokenizer)
    mask, ids = _mask_id(roles, "mask_random_tokens"), inputs["input_ids"]
    chosen = choose_random(*_allowed_and_count(inputs, roles, mask_prop), rng)
    draws = rng.random(ids.shape)
    others = rng.choice(roles.words, ids.shape)
    masked = chosen & (draws < shares.get("mask", 0.0))
    swapped = chosen & ~masked & (draws < shares.get("mask", 0.0) + shares.get("random", 0.0))
    labels = inputs.get("labels", np.where(chosen, ids, IGNORED))
    return {**inputs, "input_ids": np.where(masked, mask, np.where(swapped, others, ids)), "labels": labels}


def _require_shares(mask_prop: float, shares: Mapping[str, float]) -> None:
    problems = []
    if not 0 < mask_prop <= 1:
        problems.append(Problem(f"mask_prop is {mask_prop}", "it must be above 0 and at most 1"))
    if unknown := sorted(set(shares) - set(REPLACEMENTS)):
        problems.append(
            Problem(f"replacement_props has {', '.join(unknown)}", f"its keys are {', '.join(REPLACEMENTS)}")
        )
    if not math.isclose(sum(shares.values()), 1.0, abs_tol=1e-6) or min(shares.values()) < 0:
        problems.append(Problem(f"replacement_props add up to {sum(shares.values()):g}", "shares must add up to 1"))
    if problems:
        raise UsageError(*problems)


def mask_random_spans(
    inputs: Batch,
    tokenizer: PreTrainedTokenizerBase,
    *,
    mask_prop: float = 0.15,
    mean_noise_span_length: float = 3.0,
    rng: np.random.Generator,
) -> Batch:
    """T5's objective (Raffel et al. 2020): spans of a mean length become sentinels; the first span is never hidden."""
    roles = TokenRoles.of(tokenizer)
    noise, starts = draw_spans(_allowed(inputs, roles), mask_prop, mean_noise_span_length, rng)
    return _hide(inputs, noise, starts, roles, "mask_random_spans", spans_only=True)


def mask_truerandom_spans(
    inputs: Batch, tokenizer: PreTrainedTokenizerBase, *, mask_prop: float = 0.15, rng: np.random.Generator
) -> Batch:
    """Random tokens are hidden, each by itself; those that happen to be adjacent share one sentinel."""
    roles = TokenRoles.of(tokenizer)
    noise = choose_random(*_allowed_and_count(inputs, roles, mask_prop), rng)
    return _hide(inputs, noise, first_of_runs(noise), roles, "mask_truerandom_spans", spans_only=True)


def expand_with_masks(inputs: Batch, tokenizer: PreTrainedTokenizerBase) -> Batch:
    """Each text as often as it has tokens, each time with another one hidden. Adds `expanded_lengths`.

    Special tokens are never hidden; a text that holds no other has no rows (its length is 0).
    """
    roles = TokenRoles.of(tokenizer)
    allowed = _allowed(inputs, roles)
    rows, places = np.nonzero(allowed)
    repeated = {name: values[rows] for name, values in inputs.items()}
    noise = np.zeros((len(rows), allowed.shape[1]), dtype=bool)
    noise[np.arange(len(rows)), places] = True
    hidden = _hide(repeated, noise, noise, roles, "expand_with_masks")
    lengths = np.full(max(len(rows), len(allowed)), -1, dtype=np.int64)
    lengths[: len(allowed)] = allowed.sum(1)
    return {**hidden, "expanded_lengths": lengths}


def mask_word_tokens(
    inputs: Batch, tokenizer: PreTrainedTokenizerBase, *, word_tokens_to_mask: str | Sequence[str]
) -> Batch:
    """Hide every occurrence of some words of one token each, at the start of a text or after a space.

    Raises:
        UsageError: words that are not one known token; all of them are named.
    """
    roles = TokenRoles.of(tokenizer)
    wanted = find_word_tokens(word_tokens_to_mask, tokenizer)
    noise = np.isin(inputs["input_ids"], wanted) & _allowed(inputs, roles)
    return _hide(inputs, noise, noise, roles, "mask_word_tokens")


def find_word_tokens(words: str | Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Ids:
    """The ids of words of one token each: as they begin a text and as they follow a space.

    Raises:
        UsageError: words that are not one known token; all of them are named.
    """
    roles = TokenRoles.of(tokenizer)
    subwords = {word: _spellings(word, tokenizer, roles) for word in _as_list(words)}
    single = {word: [item[0] for item in found if len(item) == 1] for word, found in subwords.items()}
    problems = [
        Problem(
            f"{word!r} is not one known token", f"it is {_subwords_of(word, tokenizer)}", "mask_words takes such words"
        )
        for word, ids in single.items()
        if not ids
    ]
    if problems:
        raise UsageError(*problems)
    return np.array([number for ids in single.values() for number in ids], dtype=np.int64)


def mask_words(inputs: Batch, tokenizer: PreTrainedTokenizerBase, *, words_to_mask: str | Sequence[str]) -> Batch:
    """Hide every occurrence of some words, those of most tokens first; a model of spans sees one sentinel a word.

    Raises:
        UsageError: words that hold tokens the tokenizer does not know.
    """
    roles = TokenRoles.of(tokenizer)
    spellings = {word: _spellings(word, tokenizer, roles) for word in _as_list(words_to_mask)}
    problems = [
        Problem(f"{word!r} holds what the tokenizer does not know") for word, found in spellings.items() if not found
    ]
    if problems:
        raise UsageError(*problems)
    patterns = sorted(
        {pattern for found in spellings.values() for pattern in found}, key=lambda item: (-len(item), item)
    )
    free = _allowed(inputs, roles)
    noise, starts = np.zeros_like(free), np.zeros_like(free)
    for pattern in patterns:
        for row, place in zip(*np.nonzero(_occurrences(inputs["input_ids"], pattern)), strict=True):
            span = slice(place, place + len(pattern))
            if free[row, span].all():
                free[row, span], noise[row, span], starts[row, place] = False, True, True
    return _hide(inputs, noise, starts, roles, "mask_words")


def identity_if_decoder_mask_if_encoder(
    inputs: Batch,
    tokenizer: PreTrainedTokenizerBase,
    *,
    model: Any,
    mask_fn: Callable[..., Batch],
    mask_fn_kwargs: Any = None,
    **rest: Any,
) -> Batch:
    """For models that are both (GPT-BERT, Charpentier & Samuel 2024): `mask_fn` unless `model.config.is_decoder`."""
    if getattr(model.config, "is_decoder", False):
        return identity(inputs, tokenizer)
    return mask_fn(inputs, tokenizer, **rest, **(mask_fn_kwargs or {}))


def _hide(
    inputs: Batch, noise: Flags, starts: Flags, roles: TokenRoles, function: str, *, spans_only: bool = False
) -> Batch:
    """Sentinels and their labels for models of spans, masks and the tokens under them for others."""
    if roles.denoises_spans:
        corrupted = corrupt_spans(inputs["input_ids"], _attended(inputs), noise, starts, roles)
        return {**corrupted, "labels": inputs["labels"]} if "labels" in inputs else corrupted
    if spans_only:
        found, remedy = f"{function} needs a tokenizer with sentinels (T5)", "mask_random_tokens hides tokens by masks"
        raise DataError(Problem(found, remedy=remedy))
    mask, ids = _mask_id(roles, function), inputs["input_ids"]
    labels = inputs.get("labels", np.where(noise, ids, IGNORED))
    return {**inputs, "input_ids": np.where(noise, mask, ids), "labels": labels}


def _mask_id(roles: TokenRoles, function: str) -> int:
    if roles.mask_id is None:
        found, remedy = f"{function} needs a tokenizer with a mask token", "identity is for models that read leftwards"
        raise DataError(Problem(found, remedy=remedy))
    return roles.mask_id


def _attended(inputs: Batch) -> Flags:
    ids = inputs["input_ids"]
    return np.asarray(inputs.get("attention_mask", np.ones_like(ids))).astype(bool)


def _allowed(inputs: Batch, roles: TokenRoles) -> Flags:
    allowed = _attended(inputs) & ~roles.special[inputs["input_ids"]]
    return allowed & ~inputs[CONTEXT].astype(bool) if CONTEXT in inputs else allowed


def _allowed_and_count(inputs: Batch, roles: TokenRoles, share: float) -> tuple[Flags, Ids]:
    allowed = _allowed(inputs, roles)
    return allowed, np.maximum(np.rint(allowed.sum(1) * share).astype(np.int64), 1)


def _as_list(words: str | Sequence[str]) -> list[str]:
    return [words] if isinstance(words, str) else list(words)


def _spellings(word: str, tokenizer: PreTrainedTokenizerBase, roles: TokenRoles) -> list[tuple[int, ...]]:
    """The tokens of a word at the start of a text and after a space, and the token of exactly that name."""
    texts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (word, f" {word}")]
    named = tokenizer.get_vocab().get(word)
    found = {tuple(ids) for ids in [*texts, [named] if named is not None else []] if ids}
    return [ids for ids in sorted(found) if roles.unknown_id not in ids or roles.unknown_id == tokenizer.eos_token_id]


def _subwords_of(word: str, tokenizer: PreTrainedTokenizerBase) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens(tokenizer(word, add_special_tokens=False)["input_ids"]))


def _occurrences(ids: Ids, pattern: tuple[int, ...]) -> Flags:
    """Where in each row a sequence of ids begins."""
    last = ids.shape[1] - len(pattern) + 1
    if last <= 0:
        return np.zeros_like(ids, dtype=bool)
    return np.all([ids[:, offset : last + offset] == number for offset, number in enumerate(pattern)], axis=0)
