"""Span corruption of whole batches (Raffel et al. 2020, T5): spans of the input become sentinels, labels tell the spans.

input    Thank you <extra_id_0> me to your party <extra_id_1> week
labels   <extra_id_0> for inviting <extra_id_1> last <extra_id_2>
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from finetune.encoding.padding import IGNORED
from finetune.errors import DataError, Problem

Ids = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TokenRoles:
    """What ids mean: `special[id]`, the mask, the sentinels in their order, the padding."""

    special: Flags
    mask_id: int | None
    sentinels: Ids
    pad_id: int
    unknown_id: int | None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> TokenRoles:
        """Roles by any tokenizer of transformers; `<extra_id_0>`, `<extra_id_1>`, ... are sentinels."""
        return _roles_of(tokenizer, len(tokenizer))

    @classmethod
    def read(cls, tokenizer: PreTrainedTokenizerBase) -> TokenRoles:
        """`of`, anew: a walk over the whole vocabulary."""
        vocabulary = tokenizer.get_vocab()
        special = np.zeros(max(len(tokenizer), max(vocabulary.values()) + 1), dtype=bool)
        numbered = [(name[10:-1], number) for name, number in vocabulary.items() if name.startswith("<extra_id_")]
        sentinels = [number for place, number in sorted((int(place), number) for place, number in numbered)]
        special[[*tokenizer.all_special_ids, *sentinels]] = True
        unknown = tokenizer.unk_token_id
        if unknown is not None:  # an unknown word is a word, and GPT-2's is also its end of text
            special[unknown] = unknown in (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (tokenizer.eos_token_id or 0)
        return cls(special, tokenizer.mask_token_id, np.array(sentinels, dtype=np.int64), pad, unknown)

    @property
    def words(self) -> Ids:
        """All ids that are neither special nor the unknown token: what may stand for another token."""
        numbers = np.flatnonzero(~self.special)
        return numbers[numbers != (-1 if self.unknown_id is None else self.unknown_id)]

    @property
    def denoises_spans(self) -> bool:
        """Whether hidden text is shown by sentinels (T5) rather than by a mask (BERT)."""
        return self.mask_id is None and len(self.sentinels) > 0


@lru_cache(maxsize=8)
def _roles_of(tokenizer: PreTrainedTokenizerBase, size: int) -> TokenRoles:
    """Kept as long as no token is added: per batch the vocabulary would be walked over and over."""
    del size
    return TokenRoles.read(tokenizer)


def corrupt_spans(ids: Ids, attended: Flags, noise: Flags, starts: Flags, roles: TokenRoles) -> dict[str, Ids]:
    """Replace each noise span by one sentinel and collect the spans as labels.

    Args:
        ids: (rows, length), padded.
        attended: (rows, length), False on padding.
        noise: (rows, length), the tokens that are hidden.
        starts: (rows, length), the first token of each span; a subset of `noise`.
        roles: the tokenizer's sentinels and padding.

    Returns:
        `input_ids` and `attention_mask` (rows, new length), `labels` (rows, label length) padded with -100: each
        sentinel followed by its span's tokens, and one final sentinel.

    Raises:
        DataError: a row has more spans than the tokenizer has sentinels, less the final one.
    """
    spans = starts.sum(1)
    _require_sentinels(spans, roles)
    numbers = np.cumsum(starts, 1) - 1
    shown = np.where(starts, roles.sentinels[np.maximum(numbers, 0)], ids)
    kept = attended & (~noise | starts)
    inputs, mask = push_left(shown, kept, roles.pad_id)
    labels = np.full((len(ids), int((noise.sum(1) + spans + 1).max(initial=0))), IGNORED, dtype=np.int64)
    hidden_before: Ids = np.cumsum(noise, 1) - noise
    row, column = np.nonzero(starts)
    labels[row, (hidden_before + numbers)[row, column]] = roles.sentinels[numbers[row, column]]
    row, column = np.nonzero(noise)
    labels[row, (hidden_before + numbers + 1)[row, column]] = ids[row, column]
    labels[np.arange(len(ids)), noise.sum(1) + spans] = roles.sentinels[spans]
    return {"input_ids": inputs, "attention_mask": mask.astype(np.int64), "labels": labels}


def _require_sentinels(spans: npt.NDArray[np.integer], roles: TokenRoles) -> None:
    if not len(roles.sentinels):
        found, remedy = "the tokenizer has no sentinels <extra_id_0>, ...", "spans are corrupted for models such as T5"
        raise DataError(Problem(found, remedy=remedy))
    most = int(spans.max(initial=0))
    if most >= len(roles.sentinels):
        found = f"a text has {most} spans to hide, the tokenizer {len(roles.sentinels)} sentinels"
        raise DataError(Problem(found, "one more than spans is needed", "lower mask_prop or --max_length"))


def push_left(values: Ids, kept: Flags, padding: int) -> tuple[Ids, Flags]:
    """The kept entries of each row, moved to its left, and where they are; rows are as long as the longest."""
    width = int(kept.sum(1).max(initial=0))
    order = np.argsort(~kept, axis=1, kind="stable")[:, :width]
    held = np.arange(width) < kept.sum(1)[:, None]
    return np.where(held, np.take_along_axis(values, order, 1), padding), held


def choose_random(allowed: Flags, counts: npt.NDArray[np.integer], rng: np.random.Generator) -> Flags:
    """`counts[row]` of the allowed positions of each row, each set of positions equally likely."""
    keys = np.where(allowed, rng.random(allowed.shape), 2.0)
    ranks = np.argsort(np.argsort(keys, axis=1), axis=1)
    return allowed & (ranks < counts[:, None])


def draw_spans(allowed: Flags, share: float, mean_length: float, rng: np.random.Generator) -> tuple[Flags, Flags]:
    """Noise spans as T5 draws them: hidden and shown tokens are each cut at random into as many spans, by turns.

    The first span is shown. A row of one token hides none.

    Returns:
        The hidden tokens and the first of each hidden span, each (rows, length).
    """
    total = allowed.sum(1)
    hidden = np.minimum(np.maximum(np.rint(total * share).astype(np.int64), 1), np.maximum(total - 1, 0))
    spans = np.clip(
        np.rint(hidden / mean_length).astype(np.int64), 1, np.maximum(np.minimum(hidden, total - hidden), 1)
    )
    shown_parts = 2 * _cut_at_random(total - hidden, spans, allowed.shape[1], rng)
    hidden_parts = 2 * _cut_at_random(hidden, spans, allowed.shape[1], rng) + 1
    parts = np.concatenate([shown_parts, hidden_parts], axis=1)
    places = np.arange(allowed.shape[1])
    unused = np.concatenate([places >= (total - hidden)[:, None], places >= hidden[:, None]], axis=1)
    parts[unused] = np.iinfo(np.int64).max
    order = np.argsort(parts, axis=1, kind="stable")[:, : allowed.shape[1]]
    in_order = np.take_along_axis(parts, order, 1)
    is_start = np.diff(in_order, axis=1, prepend=-1) != 0
    ranks = np.maximum(np.cumsum(allowed, 1) - 1, 0)
    noise = allowed & np.take_along_axis(in_order % 2 == 1, ranks, 1)
    return noise, noise & np.take_along_axis(is_start, ranks, 1)


def _cut_at_random(
    items: npt.NDArray[np.integer], parts: npt.NDArray[np.integer], width: int, rng: np.random.Generator
) -> Ids:
    """Part numbers (rows, width): the first `items[row]` places in `parts[row]` non-empty runs, cut anywhere equally."""
    places = np.arange(width)
    may_begin = (places >= 1) & (places < items[:, None])
    return np.cumsum(choose_random(may_begin, parts - 1, rng), axis=1, dtype=np.int64)


def first_of_runs(flags: Flags) -> Flags:
    """The first position of each run of adjacent True entries of a row."""
    before = np.zeros_like(flags)
    before[:, 1:] = flags[:, :-1]
    return flags & ~before
