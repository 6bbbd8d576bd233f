from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from transformers import AutoTokenizer

from finetune.encoding.draws import draw_bits, draw_number
from finetune.encoding.lines import EncodedLines
from finetune.errors import DataError
from finetune.pregeneration.instances import (
    Instances,
    InstanceSettings,
    InstanceTokens,
    Pairs,
    build_instances,
    count_heads,
    cut_pairs,
    plan_chunks,
)
from finetune.pregeneration.sentence_store import SentenceStore, SentenceStoreWriter

CLS, SEP, MASK = 1, 2, 3
FIRST, SIZE = 10, 60_000  # ids of ordinary subwords
TOKENS = InstanceTokens(CLS, SEP, MASK, np.arange(FIRST, SIZE))


def store_of(folder, lengths: list[list[int]], *, shard_tokens=1 << 19, reduce_memory=False) -> SentenceStore:
    """Documents of sentences of these lengths; every subword of the corpus has an id of its own (up to 60,000)."""
    flat = np.array([length for document in lengths for length in document], dtype=np.int32)
    begins = np.array([number == 0 for document in lengths for number in range(len(document))], dtype=bool)
    ids = (FIRST + np.arange(flat.sum()) % (SIZE - FIRST)).astype(np.uint16)
    with SentenceStoreWriter(folder, dtype=np.uint16, has_words=True) as writer:
        writer.add(EncodedLines(ids, flat, begins, word_starts=ids % 3 != 0))
        writer.commit(shard_tokens=shard_tokens)
    return SentenceStore(folder, reduce_memory=reduce_memory)


def random_lengths(seed=0, documents=40, longest=30):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, longest, size=rng.integers(1, 40)).tolist() for _ in range(documents)]


def all_instances(store, options, epoch=0) -> Instances:
    parts = [part for shard in store.shards for part in build_instances(store, shard, epoch, options, TOKENS)]
    return Instances(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in Instances.__dataclass_fields__)
    )


def rows_of(instances: Instances):
    """(ids before masking, ids shown, b_start, is_random, masked positions) of every instance."""
    ends, masked_ends = np.cumsum(instances.lengths, dtype=int), np.cumsum(instances.masked_counts, dtype=int)
    for row in range(len(instances)):
        shown = instances.ids[ends[row] - instances.lengths[row] : ends[row]].astype(int)
        masked = slice(masked_ends[row] - instances.masked_counts[row], masked_ends[row])
        positions = instances.masked_positions[masked]
        ids = shown.copy()
        ids[positions] = instances.masked_labels[masked]
        yield ids, shown, int(instances.b_starts[row]), bool(instances.is_random_next[row]), positions


SETTINGS = st.builds(
    InstanceSettings,
    max_seq_len=st.integers(5, 70),
    short_seq_prob=st.sampled_from([0.0, 0.1, 1.0]),
    masked_lm_prob=st.sampled_from([0.05, 0.15, 0.9]),
    max_predictions_per_seq=st.integers(1, 20),
    whole_words=st.booleans(),
    seed=st.integers(0, 99),
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    lengths = random_lengths()
    return lengths, store_of(tmp_path_factory.mktemp("corpus"), lengths)


@settings(max_examples=60, deadline=None)
@given(options=SETTINGS, epoch=st.integers(0, 3))
def test_every_instance_is_what_it_should_be(corpus, options, epoch):
    lengths, store = corpus
    document_of_id, sentence_starts = {}, set()
    place = 0
    for number, document in enumerate(lengths):
        for length in document:
            sentence_starts.add(FIRST + place)
            document_of_id.update((FIRST + place + shift, number) for shift in range(length))
            place += length
    budget = options.max_predictions_per_seq
    for ids, shown, b_start, is_random, positions in rows_of(all_instances(store, options, epoch)):
        assert len(ids) <= options.max_seq_len
        assert ids[0] == CLS and ids[b_start - 1] == SEP and ids[-1] == SEP
        a, b = ids[1 : b_start - 1], ids[b_start:-1]
        assert len(a) >= 1 and len(b) >= 1 and not {CLS, SEP, MASK} & {*a.tolist(), *b.tolist()}
        assert (np.diff(a) == 1).all() and (np.diff(b) == 1).all()  # runs of the text, cut at their ends only
        documents = document_of_id[a[0]], document_of_id[b[0]]
        assert document_of_id[a[-1]] == documents[0] and document_of_id[b[-1]] == documents[1]
        assert (documents[0] != documents[1]) == is_random
        if len(ids) < options.max_seq_len:  # nothing was cut: whole sentences
            assert a[0] in sentence_starts and b[0] in sentence_starts
            assert is_random or b[0] == a[-1] + 1
        most = min(budget, max(1, round(len(ids) * options.masked_lm_prob)), len(ids) - 3)
        assert len(positions) == most or (options.whole_words and len(positions) <= most)
        assert (np.diff(positions.astype(int)) > 0).all() and not {0, b_start - 1, len(ids) - 1} & set(
            positions.tolist()
        )
        same = np.ones(len(ids), dtype=bool)
        same[positions] = False
        assert (ids[same] == shown[same]).all()
        if options.whole_words:
            assert_words_are_whole(ids, b_start, set(positions.tolist()))


def assert_words_are_whole(ids, b_start, positions):
    for position in range(1, len(ids) - 1):
        begins_word = ids[position] % 3 != 0 or position in (1, b_start)
        if not begins_word and position != b_start - 1 and position - 1 != b_start - 1:
            assert (position in positions) == (position - 1 in positions)


@settings(max_examples=30, deadline=None)
@given(options=SETTINGS)
def test_every_sentence_is_used(corpus, options):
    _, store = corpus
    used = np.zeros(store.sentences, dtype=bool)
    for shard in store.shards:
        chunks = plan_chunks(store, shard, 0, options)
        stops = np.where(chunks.is_random, chunks.a_end, chunks.end)
        assert chunks.first[0] == shard.first and (chunks.first[1:] == stops[:-1]).all() and stops[-1] == shard.end
        for first, stop in zip(chunks.first, stops, strict=True):
            used[first:stop] = True
    assert used.all()


@pytest.mark.parametrize("whole_words", [False, True])
def test_instances_do_not_depend_on_memory_mode_nor_on_shards_at_document_borders(tmp_path, whole_words):
    lengths = random_lengths(5)
    options = InstanceSettings(max_seq_len=48, whole_words=whole_words)
    one = all_instances(store_of(tmp_path / "one", lengths), options, epoch=2)
    reduced = all_instances(store_of(tmp_path / "plain", lengths, reduce_memory=True), options, epoch=2)
    many = all_instances(store_of(tmp_path / "many", lengths, shard_tokens=700), options, epoch=2)
    for name in Instances.__dataclass_fields__:
        assert np.array_equal(getattr(one, name), getattr(reduced, name)), name
        assert np.array_equal(getattr(one, name), getattr(many, name)), name


def test_document_spread_over_shards_gives_no_random_next_sentence_of_its_own(tmp_path):
    lengths = [[5] * 400, [5] * 3]
    store = store_of(tmp_path, lengths, shard_tokens=200)
    assert len(store.shards) > 4 and store.split_documents == [(0, 400)]
    for ids, _, b_start, is_random, _ in rows_of(all_instances(store, InstanceSettings(max_seq_len=32))):
        in_long = [int(subword) < FIRST + 2000 for subword in (ids[1], ids[b_start])]
        assert (in_long[0] != in_long[1]) == is_random


def test_epochs_and_seeds_differ_and_repeat(tmp_path):
    store = store_of(tmp_path, random_lengths(1))
    options = InstanceSettings(max_seq_len=40)
    first = all_instances(store, options, 0)
    assert np.array_equal(first.ids, all_instances(store, options, 0).ids)
    others = [all_instances(store, options, 1), all_instances(store, replace(options, seed=43), 0)]
    assert all(not np.array_equal(first.ids, other.ids) for other in others)


def test_longer_documents_are_drawn_more_often(tmp_path):
    """A random next sentence is uniform over the sentences of all other documents."""
    lengths = [[4] * size for size in (5, 10, 40, 80, 160)]
    store = store_of(tmp_path, lengths)
    borders = np.cumsum([0, 5, 10, 40, 80, 160])
    drawn = Counter()
    for seed in range(60):
        options = InstanceSettings(max_seq_len=19, short_seq_prob=0.0, seed=seed)
        for ids, _, b_start, is_random, _ in rows_of(all_instances(store, options)):
            own, other = (
                np.searchsorted(borders, (int(subword) - FIRST) // 4, side="right")
                for subword in (ids[1], ids[b_start])
            )
            if is_random and own == 5:  # seen from the longest document
                drawn[int(other)] += 1
    counts = [drawn[number] for number in (1, 2, 3, 4)]
    expected = np.array([5, 10, 40, 80]) / 135 * sum(counts)
    assert stats.chisquare(counts, expected).pvalue > 1e-5


def cut_by_hand(a: int, b: int, most: int) -> tuple[int, int]:
    while a + b > most:
        a, b = (a - 1, b) if a > b else (a, b - 1)
    return a, b


def test_pairs_are_cut_as_by_hand():
    cases = [(a, b, most) for most in (2, 3, 7, 10) for a in range(1, 14) for b in range(1, 14)]
    for most in (2, 3, 7, 10):
        a, b = np.array([case[:2] for case in cases if case[2] == most]).T
        draws = np.arange(len(a), dtype=np.uint64)
        cut = cut_pairs(Pairs(a_start=0 * a, a_length=a, b_start=100 + 0 * b, b_length=b), most, draws)
        assert list(zip(cut.a_length, cut.b_length, strict=True)) == [
            cut_by_hand(*case) for case in zip(a, b, 0 * a + most, strict=True)
        ]
        assert ((cut.a_start >= 0) & (cut.a_start + cut.a_length <= a)).all()
        assert ((cut.b_start >= 100) & (cut.b_start + cut.b_length <= 100 + b)).all()


@pytest.mark.parametrize("throws", [1, 7, 64, 200, 512, 3000])
def test_heads_are_binomial(throws):
    coins = draw_bits([draw_number(9, row) for row in range(20_000)], 8)
    heads = count_heads(np.full(20_000, throws), coins)
    assert heads.min() >= 0 and heads.max() <= throws
    assert abs(heads.mean() - throws / 2) < 5 * np.sqrt(throws / 4 / 20_000)
    assert heads.var() == pytest.approx(throws / 4, rel=0.06)


def statistics_of(rows, settings_) -> dict[str, float]:
    """Numbers per epoch from rows (length, length of A, is random, masked, masked as [MASK])."""
    lengths, a_lengths, random_next, masked, as_mask = (
        np.array(column, dtype=float) for column in zip(*rows, strict=True)
    )
    full = lengths == settings_.max_seq_len
    return {
        "instances": len(lengths),
        "length": lengths.mean(),
        "length of A": a_lengths.mean(),
        "A of short": a_lengths[~full].mean(),
        "full": full.mean(),
        "random next": random_next.mean(),
        "masked share": masked.sum() / lengths.sum(),
        "masks": as_mask.sum() / masked.sum(),
        "variance of A": a_lengths.var(),
    }


@pytest.mark.parametrize("whole_words", [False, True])
def test_statistics_are_those_of_the_published_algorithm(repository, monkeypatch, tmp_path, whole_words):
    """Means over many seeds agree within sampling error, for every number that describes an epoch."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    module = importlib.import_module("published_pregeneration")
    options = InstanceSettings(max_seq_len=64, short_seq_prob=0.2, whole_words=whole_words)
    lengths = random_lengths(3, documents=12, longest=25)
    store = store_of(tmp_path, lengths)
    subwords = iter(range(FIRST, SIZE))
    spelled = [
        [[f"{'' if (subword := next(subwords)) % 3 else '##'}{subword}" for _ in range(length)] for length in document]
        for document in lengths
    ]
    vocabulary = [str(subword) for subword in range(FIRST, SIZE)]
    theirs, ours = [], []
    for seed in range(150):
        oracle = module.PublishedInstances(
            spelled, vocabulary, module.PublishedSettings(64, 0.2, whole_words=whole_words), seed
        )
        rows = [
            (
                len(item["tokens"]),
                item["segment_ids"].count(0) - 2,
                item["is_random_next"],
                len(item["masked_lm_positions"]),
                item["tokens"].count("[MASK]"),
            )
            for item in oracle.epoch()
        ]
        theirs.append(statistics_of(rows, options))
        instances = all_instances(store, replace(options, seed=seed))
        rows = [
            (len(ids), b_start - 2, is_random, len(positions), int((shown == MASK).sum()))
            for ids, shown, b_start, is_random, positions in rows_of(instances)
        ]
        ours.append(statistics_of(rows, options))
    for name in ours[0]:
        a, b = ([epoch[name] for epoch in side] for side in (ours, theirs))
        assert stats.ttest_ind(a, b, equal_var=False).pvalue > 1e-4, (name, np.mean(a), np.mean(b))


def test_masks_are_15_percent_and_80_10_10(tmp_path):
    instances = all_instances(store_of(tmp_path, random_lengths(2, documents=150)), InstanceSettings())
    kinds = Counter()
    for ids, shown, _, _, positions in rows_of(instances):
        kinds["mask"] += int((shown[positions] == MASK).sum())
        kinds["kept"] += int((shown[positions] == ids[positions]).sum())
        kinds["all"] += len(positions)
    assert stats.binomtest(kinds["mask"], kinds["all"], 0.8).pvalue > 1e-5
    assert stats.binomtest(kinds["kept"], kinds["all"], 0.1).pvalue > 1e-5
    assert kinds["all"] / instances.lengths.sum() == pytest.approx(0.15, abs=0.003)


def test_tokens_are_the_tokenizers_own(minilm_folder):
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    tokens = InstanceTokens.of(tokenizer)
    assert (tokens.cls_id, tokens.sep_id, tokens.mask_id) == (101, 102, 103)
    assert not set(tokenizer.all_special_ids) & set(tokens.ordinary.tolist())
    tokenizer.mask_token = None
    with pytest.raises(DataError, match="has no mask_token"):
        InstanceTokens.of(tokenizer)


def test_two_sentences_are_neighbours_or_from_different_documents(tmp_path):
    lengths = [[3, 4, 5], [2], [6, 7, 8, 2, 3], [4, 4]]
    for shard_tokens in (1 << 19, 8):
        store = store_of(tmp_path / str(shard_tokens), lengths, shard_tokens=shard_tokens)
        borders = FIRST + np.cumsum([0, *[length for document in lengths for length in document]])
        documents = np.repeat(np.arange(4), [3, 1, 5, 2])
        options = InstanceSettings(two_sentences=True, max_predictions_per_seq=128)
        firsts, random_next = [], []
        for epoch in range(40):
            for ids, _, b_start, is_random, _ in rows_of(all_instances(store, options, epoch)):
                a, b = np.searchsorted(borders, [ids[1], ids[b_start]], side="right") - 1
                assert ids[1 : b_start - 1].tolist() == list(range(borders[a], borders[a + 1]))
                assert ids[b_start:-1].tolist() == list(range(borders[b], borders[b + 1]))
                assert documents[a] != documents[b] if is_random else (b == a + 1 and documents[a] == documents[b])
                firsts.append(int(a))
                random_next.append(is_random or a == 3)
        assert sorted(set(firsts)) == [0, 1, 3, 4, 5, 6, 7, 9]
        assert 0.35 < np.mean([r for r, a in zip(random_next, firsts, strict=True) if a != 3]) < 0.65
