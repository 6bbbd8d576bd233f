from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.models.unpadding.blocks import build_blocks
from finetune.models.unpadding.layout import Rounding, TokenLayout, build_layout
from finetune.models.unpadding.padded_attention import attend

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=11)


def make_layout(lengths: list[int], *, rows: int = 1, multiple: int = 4, fast: bool = True) -> TokenLayout:
    mask = torch.arange(max(1, *lengths)) < torch.tensor(lengths)[:, None]
    return build_layout(mask, rounding=Rounding(rows, multiple), fast_dropout=fast)


def draw(layout: TokenLayout, heads: int = 3, size: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (layout.rows, heads, size)
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(3)]


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, rows=st.sampled_from([1, 8, 64]), multiple=st.sampled_from([1, 4, 16]))
def test_padding_around_the_attention_and_packing_again_is_the_identity(lengths, rows, multiple):
    layout = make_layout(lengths, rows=rows, multiple=multiple)
    blocks = build_blocks(layout, heads=2)
    values = torch.arange(layout.rows * 2 * 3).view(layout.rows, 2, 3).float() + 1
    places = blocks.empty_places(values)
    for block in blocks.blocks:
        block.part_of(places).copy_(block.pad_with_zeros(values))
        assert block.length % multiple == 0
    packed = blocks.pack_with_zeros(places)
    assert torch.equal(packed[: layout.tokens], values[: layout.tokens])
    assert not packed[layout.tokens :].any()
    assert int((places != 0).all(1).sum()) == layout.tokens * 2


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, rows=st.sampled_from([1, 8, 64]))
def test_packing_and_padding_are_inverse_for_values_and_gradients(lengths, rows):
    layout = make_layout(lengths, rows=rows)
    padded = torch.randn(*layout.real.shape, 3, requires_grad=True)
    again = layout.pad(layout.pack(padded))
    assert torch.equal(again, padded * layout.real[..., None])
    (again * 2).sum().backward()
    assert torch.equal(padded.grad, 2.0 * layout.real[..., None].expand_as(padded))
    assert layout.tokens == sum(lengths) <= layout.rows <= max(1, padded.shape[0] * padded.shape[1])


@pytest.mark.parametrize("window", [None, 3])
def test_each_sentence_attends_to_itself_alone(window):
    lengths = [9, 2, 0, 17, 5, 1]
    layout = make_layout(lengths, rows=8)
    query, key, value = draw(layout)
    found = attend(query, key, value, layout, scale=0.3, dropout=0.0, window=window)
    start = 0
    for length in lengths:
        q, k, v = (rows[start : start + length].transpose(0, 1) for rows in (query, key, value))
        scores = q @ k.transpose(1, 2) * 0.3
        place = torch.arange(length)
        if window is not None:
            scores = scores.masked_fill((place[:, None] - place).abs() > window, -torch.inf)
        expected = (torch.softmax(scores, -1) @ v).transpose(0, 1)
        torch.testing.assert_close(found[start : start + length], expected)
        start += length


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_with_dropout_agree_with_finite_differences(dropout, fast, window):
    layout = make_layout([3, 6, 1], rows=4, fast=fast)

    def function(*rows):
        torch.manual_seed(11)
        return attend(*rows, layout, scale=0.5, dropout=dropout, window=window)[: layout.tokens]

    assert torch.autograd.gradcheck(function, draw(layout, heads=2, size=2))


def test_long_sentences_without_dropout_take_the_library_kernel_with_equal_results(monkeypatch):
    layout = make_layout([30, 12, 0, 7], rows=8)
    rows = draw(layout)
    results = []
    for threshold in (1, 1000):
        monkeypatch.setattr("finetune.models.unpadding.padded_attention._LONG", threshold)
        result = attend(*rows, layout, scale=0.4, dropout=0.0, window=None)[: layout.tokens]
        results.append([result, *torch.autograd.grad(result.square().sum(), rows)])
    for ours, library in zip(*results, strict=True):
        torch.testing.assert_close(ours, library)


@pytest.mark.parametrize("fast", [True, False])
def test_dropped_attention_is_right_on_average(fast):
    layout = make_layout([6, 4], rows=1, fast=fast)
    rows = [tensor.detach() for tensor in draw(layout, heads=2, size=3)]
    expected = attend(*rows, layout, scale=0.5, dropout=0.0, window=None)
    torch.manual_seed(0)
    samples = torch.stack([attend(*rows, layout, scale=0.5, dropout=0.2, window=None) for _ in range(3000)])
    error = samples.std(0) / 3000**0.5
    assert ((samples.mean(0) - expected).abs() < 5 * error).all()
    assert samples.std(0).min() > 0


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_bfloat16_stays_close_to_double(dropout):
    layout = make_layout([40, 20, 33, 8], rows=64, multiple=16)
    rows = draw(layout, heads=4, size=8)
    torch.manual_seed(1)
    exact = attend(*rows, layout, scale=0.35, dropout=dropout, window=None)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        rough = attend(*(r.bfloat16() for r in rows), layout, scale=0.35, dropout=dropout, window=None)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.double(), exact, rtol=0.05, atol=0.05)
