from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from transformers import AutoTokenizer

from finetune.encoding.draws import draw_number
from finetune.encoding.masking import IGNORED, Masker, find_special_ids
from finetune.errors import DataError

MASK, SIZE = 4, 1000
IS_SPECIAL = np.zeros(SIZE, dtype=bool)
IS_SPECIAL[:5] = True


def batch(rows, length, seed=0):
    generator = np.random.default_rng(seed)
    ids = generator.integers(5, SIZE, size=(rows, length))
    ids[:, 0], ids[:, -1] = 2, 3
    return ids, np.array([draw_number(seed, index) for index in range(rows)])


def within(count: int, total: int, share: float) -> bool:
    """Whether a count is no rarer than 1 in 100,000 under a binomial distribution."""
    return stats.binomtest(int(count), int(total), share).pvalue > 1e-5


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), probability=st.sampled_from([0.05, 0.15, 0.4]), whole=st.booleans())
def test_shares_are_15_and_80_10_10(seed, probability, whole):
    ids, draws = batch(300, 130, seed)
    starts = np.random.default_rng(seed).random(ids.shape) < 0.7 if whole else None
    masker = Masker(MASK, IS_SPECIAL, probability, whole_words=whole)
    inputs, labels = masker.mask(ids, draws, starts)
    predicted = labels != IGNORED
    ordinary = ids.size - 2 * len(ids)
    if not whole:
        assert within(predicted.sum(), ordinary, probability)
    else:  # words are drawn, so subwords come in clumps
        assert predicted.sum() / ordinary == pytest.approx(probability, rel=0.12)
    total = int(predicted.sum())
    masked = inputs[predicted] == MASK
    kept = inputs[predicted] == ids[predicted]
    assert within(masked.sum(), total, 0.8)
    assert within(kept.sum(), total, 0.1 + 0.1 / (SIZE - 5))
    assert (inputs[~predicted] == ids[~predicted]).all()
    assert (labels[predicted] == ids[predicted]).all()


def test_random_replacements_are_uniform_over_ordinary_tokens():
    ids, draws = batch(4000, 130)
    inputs, labels = Masker(MASK, IS_SPECIAL, 0.5).mask(ids, draws)
    changed = (labels != IGNORED) & (inputs != MASK) & (inputs != ids)
    counts = np.bincount(inputs[changed], minlength=SIZE)
    assert counts[:5].sum() == 0
    assert stats.chisquare(counts[5:]).pvalue > 1e-5


@settings(max_examples=60, deadline=None)
@given(data=st.data(), rows=st.integers(1, 5), length=st.integers(1, 20))
def test_special_tokens_are_never_predicted_and_words_are_whole(data, rows, length):
    ids = np.array(
        data.draw(
            st.lists(st.lists(st.integers(0, 30), min_size=length, max_size=length), min_size=rows, max_size=rows)
        )
    )
    starts = np.array(
        data.draw(st.lists(st.lists(st.booleans(), min_size=length, max_size=length), min_size=rows, max_size=rows))
    )
    draws = [data.draw(st.integers(0, 2**62)) for _ in range(rows)]
    _, labels = Masker(MASK, IS_SPECIAL, 0.5, whole_words=True).mask(ids, draws, starts)
    predicted = labels != IGNORED
    assert not (predicted & IS_SPECIAL[ids]).any()
    words = np.cumsum(starts, axis=1)
    for row in range(rows):
        for word in np.unique(words[row]):
            subwords = (words[row] == word) & ~IS_SPECIAL[ids[row]]
            assert predicted[row, subwords].all() or not predicted[row, subwords].any()


def test_an_example_is_masked_the_same_in_any_batch():
    ids, draws = batch(8, 40)
    masker = Masker(MASK, IS_SPECIAL)
    inputs, labels = masker.mask(ids, draws)
    alone = [masker.mask(ids[[row]], draws[[row]]) for row in range(8)]
    assert np.array_equal(np.concatenate([a for a, _ in alone]), inputs)
    assert np.array_equal(np.concatenate([b for _, b in alone]), labels)
    padded = np.pad(ids, ((0, 0), (0, 9)))
    assert np.array_equal(masker.mask(padded, draws)[0][:, :40], inputs)


def test_other_draws_mask_other_positions():
    ids, draws = batch(50, 100)
    masker = Masker(MASK, IS_SPECIAL)
    first, second = (masker.mask(ids, draws + shift)[1] != IGNORED for shift in (0, 1))
    overlap = (first & second).sum() / first.sum()
    assert 0.1 < overlap < 0.2


def test_tokenizer_decides_what_is_special(minilm_folder):
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    assert np.flatnonzero(find_special_ids(tokenizer)).tolist() == sorted(tokenizer.all_special_ids)
    masker = Masker.for_tokenizer(tokenizer, probability=0.2, whole_words=True)
    assert (masker.mask_id, masker.probability, masker.whole_words) == (103, 0.2, True)


def test_tokenizer_without_a_mask_is_refused(minilm_folder):
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    tokenizer.mask_token = None
    with pytest.raises(DataError, match="has no mask token"):
        Masker.for_tokenizer(tokenizer)
