from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from finetune.models.fast_dropout import (
    FastDropout,
    _bernoulli_positions,
    draw_keep_mask,
    fast_dropout,
    keep_elements,
    use_fast_dropout,
)

COUNT = 4_000_000


@pytest.mark.parametrize("probability", [0.1, 0.1015625, 0.3, 0.5, 0.999, 1 / 1024])
def test_elements_are_dropped_with_exactly_the_probability(probability):
    torch.manual_seed(1)
    dropped = int((draw_keep_mask((COUNT,), probability) == 0).sum())
    deviation = (dropped - COUNT * probability) / math.sqrt(COUNT * probability * (1 - probability))
    assert abs(deviation) < 4  # for p = 0.1, the rounded 26/256 would deviate by 10 and 25/256 by 16


def test_drops_are_independent_of_their_neighbours():
    torch.manual_seed(2)
    dropped = (draw_keep_mask((COUNT,), 0.1) == 0).numpy()
    for lag in (1, 2, 7, 8, 64, 384):
        both = np.count_nonzero(dropped[lag:] & dropped[:-lag])
        assert abs(both - 0.01 * COUNT) < 4 * math.sqrt(0.01 * 0.99 * COUNT)


def test_sparse_process_has_no_gap_at_the_end_and_reaches_the_count():
    generator = np.random.default_rng(0)
    found = [_bernoulli_positions(generator, 50, 0.02) for _ in range(20_000)]
    positions = np.concatenate(found)
    assert positions.min() == 0 and positions.max() == 49
    counts = np.bincount(positions, minlength=50)
    assert abs(counts - 400).max() < 5 * math.sqrt(400)
    assert all(np.all(np.diff(drawn) > 0) for drawn in found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_values_and_gradients_are_kept_and_scaled(dtype):
    values = torch.randn(37, 19, dtype=dtype).t().requires_grad_()
    torch.manual_seed(5)
    mask = draw_keep_mask(values.shape, 0.4)
    torch.manual_seed(5)
    result = fast_dropout(values, 0.4)
    expected = (values.detach().float() * (mask == -1) / 0.6).to(dtype)
    torch.testing.assert_close(result, expected)
    result.backward(torch.full_like(result, 3))
    torch.testing.assert_close(values.grad, ((mask == -1) * torch.tensor(3 / 0.6, dtype=dtype)).to(dtype))


def test_bits_of_infinities_and_nans_are_cleared():
    values = torch.tensor([float("inf"), float("nan"), 1.0])
    assert keep_elements(values, torch.tensor([0, 0, -1], dtype=torch.int8)).tolist() == [0, 0, 1]


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_extreme_probabilities(probability):
    result = FastDropout(probability)(torch.ones(100))
    assert result.unique().tolist() == [1 - probability]


def test_torch_generator_state_determines_every_mask():
    dropout, values = FastDropout(0.5), torch.ones(1000)
    state = torch.get_rng_state()
    first, second = dropout(values), dropout(values)
    torch.set_rng_state(state)
    assert torch.equal(dropout(values), first) and torch.equal(dropout(values), second)
    assert not torch.equal(first, second)


def test_threads_do_not_matter():
    threads = torch.get_num_threads()
    results = []
    for number in (1, 2):
        torch.set_num_threads(number)
        torch.manual_seed(3)
        results.append(fast_dropout(torch.ones(100_000), 0.1))
    torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_modules_stay_the_same_objects_with_the_same_state():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.2), nn.Sequential(nn.Dropout(0.3), nn.AlphaDropout(0.1)))
    before = dict(model.named_modules())
    assert use_fast_dropout(model) == 2 and use_fast_dropout(model) == 0
    assert dict(model.named_modules()) == before
    assert isinstance(model[1], FastDropout) and model[1].p == 0.2
    values = torch.randn(3, 4)
    assert torch.equal(model[1].eval()(values), values)
