"""The path of CUDA. Without a GPU its kernels are stood in for by plain products, and by their meta functions."""

from __future__ import annotations

import pytest
import torch

from finetune.models.unpadding import attention, padded_attention, varlen_attention
from finetune.models.unpadding.layout import Rounding, TokenLayout, build_layout

LENGTHS = [9, 2, 17, 5, 1]
GPU = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)


def make_layout(device: str = "cpu") -> TokenLayout:
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return build_layout(mask.to(device), lengths=LENGTHS, rounding=Rounding(16, 4))


def draw(layout: TokenLayout, **options) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(layout.rows, 2, 8, **options) for _ in range(3)]


def plain_varlen(query, key, value, bounds_q, bounds_k, longest_q, longest_k, *, scale, window_size):
    """What `varlen_attn` computes, by its documentation: attention within [bounds[i], bounds[i + 1])."""
    assert bounds_q is bounds_k and bounds_q.dtype == torch.int32 and longest_q == longest_k
    attended = torch.full_like(query, torch.nan)
    for start, end in zip(bounds_q.tolist(), bounds_q.tolist()[1:], strict=False):
        assert end - start <= longest_q
        q, k, v = (tensor[start:end].transpose(0, 1) for tensor in (query, key, value))
        place = torch.arange(end - start)
        left, right = (reach if reach >= 0 else end for reach in window_size)
        far = (place[:, None] - place > left) | (place - place[:, None] > right)
        weights = (q @ k.transpose(1, 2) * scale).masked_fill(far, -torch.inf).softmax(-1)
        attended[start:end] = (weights @ v).transpose(0, 1)
    return attended


@pytest.mark.parametrize("sliding_window", [None, 4])
def test_the_kernel_is_given_the_bounds_of_the_sentences(monkeypatch, sliding_window):
    layout = make_layout()
    query, key, value = (tensor.transpose(0, 1)[None] for tensor in draw(layout))  # as layers give them
    expected, _ = attention.unpadded_attention(
        torch.nn.Module(), query, key, value, None, token_layout=layout, sliding_window=sliding_window
    )
    monkeypatch.setattr(varlen_attention, "serves", lambda query: True)
    monkeypatch.setattr(varlen_attention, "varlen_attn", plain_varlen)
    found, _ = attention.unpadded_attention(
        torch.nn.Module(), query, key, value, None, token_layout=layout, sliding_window=sliding_window
    )
    assert layout.rows > layout.tokens and not found.isnan().any(), "filler rows are written, too"
    torch.testing.assert_close(found[:, : layout.tokens], expected[:, : layout.tokens])


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("window", [None, 3])
def test_both_kernels_accept_the_call(dropout, window):
    """Their meta functions check the arguments and give the shape, on any machine."""
    layout = make_layout()
    query, key, value = draw(layout, device="meta", dtype=torch.bfloat16)
    found = varlen_attention.attend(query, key, value, layout, scale=0.3, dropout=dropout, window=window)
    assert found.shape == query.shape and found.device.type == "meta"


def test_only_half_precision_on_a_gpu_takes_the_kernels():
    query = torch.randn(4, 2, 8)
    assert not varlen_attention.serves(query) and not varlen_attention.serves(query.bfloat16())


@pytest.mark.skipif(not GPU, reason="needs an NVIDIA GPU of compute capability 8.0 or later")
@pytest.mark.parametrize("window", [None, 3])
def test_values_and_gradients_are_those_of_the_padded_path(window):
    results = []
    for path in (varlen_attention.attend, padded_attention.attend):
        layout = make_layout("cuda")
        tensors = [t.requires_grad_() for t in draw(layout, device="cuda", dtype=torch.bfloat16)]
        found = path(*tensors, layout, scale=0.3, dropout=0.0, window=window)[: layout.tokens]
        found.float().square().sum().backward()
        results.append([found, *(tensor.grad[: layout.tokens] for tensor in tensors)])
    for ours, padded in zip(*results, strict=True):
        torch.testing.assert_close(ours, padded, rtol=2e-2, atol=2e-2)


@pytest.mark.skipif(not GPU, reason="needs an NVIDIA GPU of compute capability 8.0 or later")
def test_dropout_has_a_gradient():
    layout = make_layout("cuda")
    tensors = [t.requires_grad_() for t in draw(layout, device="cuda", dtype=torch.bfloat16)]
    varlen_attention.attend(*tensors, layout, scale=0.3, dropout=0.1, window=None).float().sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in tensors)
