"""BERT's pretraining instances (Devlin et al. 2019, section 3.1 and appendix A.2) over arrays, not token by token.

    [CLS] A [SEP] B [SEP]

A and B are runs of whole sentences of about `max_seq_len` subwords together. Half of the time B is what follows A; otherwise
it comes from another document (a random sentence of all others, so longer documents are drawn more often), and the
sentences that would have followed go into the next instance. A pair that is too long loses subwords of its longer half, each
at its front or its back by chance. Some documents (`short_seq_prob`) are cut into shorter instances.

The published code walks through a document instance by instance. Here every sentence draws beforehand what would happen
if an instance began with it; that gives each sentence a successor, and the instances are the chain of successors. All
draws are functions of seed, epoch and sentence, so they are the same for any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from finetune.encoding.blocks import follow
from finetune.encoding.draws import Bits, as_fraction, below, draw_bits, draw_number
from finetune.encoding.masking import find_special_ids, replace_ids
from finetune.errors import DataError, Problem
from finetune.pregeneration.exact_masking import choose_masked
from finetune.pregeneration.sentence_store import SentenceStore, Shard

SPECIALS_PER_INSTANCE = 3
SHORTEST_PAIR = 2  # subwords: one for A, one for B
INSTANCES_AT_ONCE = 4096
DOCUMENTS, SENTENCES, CUTS, MASKS = range(4)  # streams of random numbers
COIN_WORDS = 8  # 64 coins each

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class InstanceSettings:
    """What decides the instances, beside text and tokenizer.

    `two_sentences`: A and B are one sentence each, as the quick way of `simple_lm_finetuning.py` has it.
    """

    max_seq_len: int = 128
    short_seq_prob: float = 0.1
    masked_lm_prob: float = 0.15
    max_predictions_per_seq: int = 20
    whole_words: bool = False
    two_sentences: bool = False
    seed: int = 42

    @property
    def subwords_per_pair(self) -> int:
        return self.max_seq_len - SPECIALS_PER_INSTANCE


@dataclass(frozen=True)
class InstanceTokens:
    """Ids that instances need beside the text's; random replacements are drawn from `ordinary`."""

    cls_id: int
    sep_id: int
    mask_id: int
    ordinary: npt.NDArray[np.integer]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> InstanceTokens:
        """Read them from a tokenizer.

        Raises:
            DataError: it lacks one of the three special tokens.
        """
        ids = {name: getattr(tokenizer, f"{name}_token_id") for name in ("cls", "sep", "mask")}
        missing = [f"{name}_token" for name, index in ids.items() if index is None]
        if missing:
            found = f"the tokenizer {type(tokenizer).__name__} has no {', '.join(missing)}"
            raise DataError(
                Problem(found, "instances read [CLS] A [SEP] B [SEP] with [MASK]", "give a BERT-like model")
            )
        ordinary = np.flatnonzero(~find_special_ids(tokenizer))
        return cls(ids["cls"], ids["sep"], ids["mask"], ordinary)


@dataclass(frozen=True)
class Instances:
    """Instances, ragged: ids as the model sees them, and what stood at the masked positions.

    `b_starts`: position of the first subword of B, which is also the number of positions of segment 0.
    """

    ids: npt.NDArray[np.unsignedinteger]  # (all ids,)
    lengths: npt.NDArray[np.uint16]  # (instances,)
    b_starts: npt.NDArray[np.uint16]  # (instances,)
    is_random_next: Bools  # (instances,)
    masked_counts: npt.NDArray[np.uint16]  # (instances,)
    masked_positions: npt.NDArray[np.uint16]  # (all masked,)
    masked_labels: npt.NDArray[np.unsignedinteger]  # (all masked,)

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class Chunks:
    """Runs of sentences from which instances are made: `first` to `a_end` is A, up to `end` what really follows.

    Sentences are counted over the whole store; the document is `document_first` to `document_end`.
    """

    first: Ints
    a_end: Ints
    end: Ints
    is_random: Bools
    target: Ints  # subwords of the pair, roughly
    document_first: Ints
    document_end: Ints

    def __getitem__(self, part: slice) -> Chunks:
        return Chunks(*(getattr(self, name)[part] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Pairs:
    """Where A and B lie in the tokens of the store."""

    a_start: Ints
    a_length: Ints
    b_start: Ints
    b_length: Ints


def build_instances(
    store: SentenceStore, shard: Shard, epoch: int, settings: InstanceSettings, tokens: InstanceTokens
) -> Iterator[Instances]:
    """The instances of one shard in one epoch, a few thousand at a time, in the order of the text."""
    plan = plan_neighbours if settings.two_sentences else plan_chunks
    chunks = plan(store, shard, epoch, settings)
    for start in range(0, len(chunks.first), INSTANCES_AT_ONCE):
        part = chunks[slice(start, start + INSTANCES_AT_ONCE)]
        pairs = choose_pairs(store, part, epoch, settings)
        cut = cut_pairs(pairs, settings.subwords_per_pair, _draws(settings.seed, epoch, CUTS, part.first))
        yield mask_pairs(store, cut, part, epoch, settings, tokens)


def _draws(seed: int, epoch: int, stream: int, sentences: Ints) -> Bits:
    """A number for each sentence that seed, epoch and stream decide with it."""
    return np.uint64(draw_number(seed, epoch, stream)) + sentences.astype(np.uint64)


def plan_chunks(store: SentenceStore, shard: Shard, epoch: int, settings: InstanceSettings) -> Chunks:
    """Cut the documents of a shard into chunks.

    A document that is spread over shards is cut there as it is at its end.
    """
    offsets, begins = store.sentence_borders(shard)  # (sentences + 1,)
    count = shard.end - shard.first
    sentences = shard.first + np.arange(count)
    document_first, document_end = _documents_of(store, shard, begins)
    target = _draw_targets(document_first, epoch, settings)
    borders = np.flatnonzero(begins[1:]) + 1
    borders = np.append(borders, count)  # of the text at hand, not of a document that goes on in the next shard
    here_end = borders[np.searchsorted(borders, np.arange(count), side="right")]
    end = np.minimum(np.searchsorted(offsets, offsets[:-1] + target), here_end)
    bits = draw_bits(_draws(settings.seed, epoch, SENTENCES, sentences), 2)
    candidates = end - np.arange(count) - 1  # sentences that A may leave to B
    a_end = np.arange(count) + 1 + np.where(candidates > 0, below(bits[:, 0], np.maximum(candidates, 1)), 0)
    is_random = (candidates == 0) | (as_fraction(bits[:, 1]) < 0.5)
    chain = np.array(follow(np.where(is_random, a_end, end)), dtype=np.int64)
    return Chunks(
        first=sentences[chain],
        a_end=shard.first + a_end[chain],
        end=shard.first + end[chain],
        is_random=is_random[chain],
        target=target[chain],
        document_first=document_first[chain],
        document_end=document_end[chain],
    )


def plan_neighbours(store: SentenceStore, shard: Shard, epoch: int, settings: InstanceSettings) -> Chunks:
    """A chunk of two sentences from every sentence on that is not the last of its document.

    The sentence of a document that has no other gets a random next one.
    """
    _, begins = store.sentence_borders(shard)
    sentences = np.arange(shard.first, shard.end)
    document_first, document_end = _documents_of(store, shard, begins)
    is_alone = document_end - document_first == 1
    chosen = is_alone | ~begins[1:]
    bits = draw_bits(_draws(settings.seed, epoch, SENTENCES, sentences), 2)
    is_random = is_alone | (as_fraction(bits[:, 1]) < 0.5)
    return Chunks(
        first=sentences[chosen],
        a_end=sentences[chosen] + 1,
        end=sentences[chosen] + np.where(is_alone[chosen], 1, 2),
        is_random=is_random[chosen],
        target=np.zeros(chosen.sum(), dtype=np.int64),  # one sentence is enough for B
        document_first=document_first[chosen],
        document_end=document_end[chosen],
    )


def _documents_of(store: SentenceStore, shard: Shard, begins: Bools) -> tuple[Ints, Ints]:
    """First sentence and end of the document of each sentence of a shard."""
    count = shard.end - shard.first
    borders = np.union1d(np.flatnonzero(begins), [0, count])
    spans = np.diff(borders)
    firsts, ends = shard.first + borders[:-1], shard.first + borders[1:]
    if not begins[0]:
        firsts[0] = _whole_document(store, shard.first)[0]
    if not begins[count]:
        ends[-1] = _whole_document(store, shard.end)[1]
    return np.repeat(firsts, spans), np.repeat(ends, spans)


def _whole_document(store: SentenceStore, sentence: int) -> tuple[int, int]:
    document = store.split_document_around(sentence)
    assert document is not None, "a shard ends inside a document that the store does not know as split"
    return document


def _draw_targets(document_first: Ints, epoch: int, settings: InstanceSettings) -> Ints:
    """The length that instances of each sentence's document aim at: full, or with `short_seq_prob` anything down to 2."""
    bits = draw_bits(_draws(settings.seed, epoch, DOCUMENTS, document_first), 2)
    is_short = as_fraction(bits[:, 0]) < settings.short_seq_prob
    full = settings.subwords_per_pair
    short = SHORTEST_PAIR + below(bits[:, 1], full - SHORTEST_PAIR + 1)
    return np.where(is_short, short, full)


def choose_pairs(store: SentenceStore, chunks: Chunks, epoch: int, settings: InstanceSettings) -> Pairs:
    """A of every chunk; B from the same chunk or from a random sentence of another document on."""
    a_start, a_stop, b_stop = _token_places(store, chunks)
    b_start = a_stop.copy()
    rows = np.flatnonzero(chunks.is_random)
    if len(rows):
        sentences = _draw_other_sentences(store, chunks, rows, epoch, settings)
        wanted = chunks.target[rows] - (a_stop - a_start)[rows]
        b_start[rows], b_stop[rows] = _run_of_sentences(store, sentences, wanted, settings.subwords_per_pair)
    return Pairs(a_start, a_stop - a_start, b_start, b_stop - b_start)


def _token_places(store: SentenceStore, chunks: Chunks) -> tuple[Ints, Ints, Ints]:
    """Where A begins, A ends and the chunk ends, in tokens."""
    base, last = int(chunks.first[0]), int(chunks.end.max())
    offsets, _ = store.sentence_borders(Shard(base, last))
    return offsets[chunks.first - base], offsets[chunks.a_end - base], offsets[chunks.end - base]


def _draw_other_sentences(
    store: SentenceStore, chunks: Chunks, rows: Ints, epoch: int, settings: InstanceSettings
) -> Ints:
    """A sentence for each row, uniformly from all sentences that are not of its document."""
    bits = draw_bits(_draws(settings.seed, epoch, SENTENCES, chunks.first[rows]), 3)[:, 2]
    own = chunks.document_end[rows] - chunks.document_first[rows]
    drawn = below(bits, store.sentences - own)
    return drawn + np.where(drawn >= chunks.document_first[rows], own, 0)


def _run_of_sentences(store: SentenceStore, first: Ints, wanted: Ints, most: int) -> tuple[Ints, Ints]:
    """Tokens from each sentence on, as many whole sentences as give `wanted` (at most `most`), in one document."""
    offsets, begins = store.borders_after(first, most)  # (rows, most + 1); a sentence has at least one subword
    is_end = begins | (offsets - offsets[:, :1] >= wanted[:, None])
    is_end[:, 0] = False
    ends = is_end.argmax(axis=1)
    return offsets[:, 0], np.take_along_axis(offsets, ends[:, None], axis=1)[:, 0]


def cut_pairs(pairs: Pairs, most: int, draws: Bits) -> Pairs:
    """Cut pairs to `most` subwords: the longer half loses them one by one, each at its front or its back by chance."""
    b_length = np.minimum(pairs.b_length, np.maximum(most // 2, most - pairs.a_length))
    a_length = np.minimum(pairs.a_length, most - b_length)
    coins = draw_bits(draws, 2 * COIN_WORDS)
    a_front = count_heads(pairs.a_length - a_length, coins[:, :COIN_WORDS])
    b_front = count_heads(pairs.b_length - b_length, coins[:, COIN_WORDS:])
    return Pairs(pairs.a_start + a_front, a_length, pairs.b_start + b_front, b_length)


def count_heads(throws: Ints, coins: Bits) -> Ints:
    """Heads among `throws` (rows,) of fair coins, from random bits (rows, words).

    Exact for as many throws as there are bits; for more, the normal approximation of the binomial distribution.
    """
    most = 64 * coins.shape[1]
    left = np.clip(throws[:, None] - 64 * np.arange(coins.shape[1]), 0, 64).astype(np.uint64)
    keep = np.where(left == 64, ~np.uint64(0), (np.uint64(1) << (left % np.uint64(64))) - np.uint64(1))
    heads = np.bitwise_count(coins & keep).sum(axis=1, dtype=np.int64)
    if not (throws > most).any():
        return heads
    deviations = (np.bitwise_count(coins).sum(axis=1, dtype=np.int64) - most / 2) / np.sqrt(most / 4)
    approximate = np.rint(throws / 2 + np.sqrt(throws / 4) * deviations).astype(np.int64)
    return np.where(throws > most, np.clip(approximate, 0, throws), heads)


def mask_pairs(
    store: SentenceStore, pairs: Pairs, chunks: Chunks, epoch: int, settings: InstanceSettings, tokens: InstanceTokens
) -> Instances:
    """Lay pairs out with their special tokens and mask them."""
    lengths = pairs.a_length + pairs.b_length + SPECIALS_PER_INSTANCE
    b_starts = pairs.a_length + 2
    columns = np.arange(int(lengths.max()))
    in_a = (columns >= 1) & (columns <= pairs.a_length[:, None])  # (instances, width)
    in_b = (columns >= b_starts[:, None]) & (columns < lengths[:, None] - 1)
    ids = np.full(in_a.shape, tokens.sep_id, dtype=np.int64)
    ids[:, 0] = tokens.cls_id
    ids[in_a] = store.tokens.rows(pairs.a_start, pairs.a_length)
    ids[in_b] = store.tokens.rows(pairs.b_start, pairs.b_length)
    bits = draw_bits(_draws(settings.seed, epoch, MASKS, chunks.first), len(columns))
    budget = np.maximum(np.rint(lengths * settings.masked_lm_prob).astype(np.int64), 1)
    budget = np.minimum(budget, settings.max_predictions_per_seq)
    starts = word_starts_of(store, pairs, in_a, in_b) if settings.whole_words else None
    is_masked = choose_masked(in_a | in_b, budget, bits, starts)
    labels = ids[is_masked]
    ids[is_masked] = replace_ids(labels, bits[is_masked], tokens.mask_id, tokens.ordinary)
    dtype = np.dtype(store.description["dtype"])
    return Instances(
        ids=ids[columns < lengths[:, None]].astype(dtype),
        lengths=lengths.astype(np.uint16),
        b_starts=b_starts.astype(np.uint16),
        is_random_next=chunks.is_random,
        masked_counts=is_masked.sum(axis=1).astype(np.uint16),
        masked_positions=np.nonzero(is_masked)[1].astype(np.uint16),
        masked_labels=labels.astype(dtype),
    )


def word_starts_of(store: SentenceStore, pairs: Pairs, in_a: Bools, in_b: Bools) -> Bools:
    """Where words begin (instances, width): as the store has it, and at both ends of both segments."""
    assert store.words is not None, "the sentences were prepared without words"
    starts = np.ones(in_a.shape, dtype=bool)
    starts[in_a] = store.words.rows(pairs.a_start, pairs.a_length).astype(bool)
    starts[in_b] = store.words.rows(pairs.b_start, pairs.b_length).astype(bool)
    starts[:, 1] = True
    starts[np.arange(len(starts)), pairs.a_length + 2] = True
    return starts
