"""Small encoders of each kind of layer, computed by transformers' layers and by the native step, and their comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel

from finetune.models.native.layers import Layers, find_stack
from finetune.models.native.step import Batch, Positions, Rates, Step, run_layers

KINDS = ("bert", "modernbert")
NO_DROPOUT = Rates()
RELATIVE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
BIASES = {"norm_bias": True, "attention_bias": True, "mlp_bias": True}


def make_encoder(hidden=64, heads=2, wide=96, layers=2, seed=0, longest=600, kind="bert", **changes) -> Any:
    """ModernBERT's window is 12 tokens to both sides, of all layers but the first of each three."""
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": 50,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": wide,
        "num_hidden_layers": layers,
        "max_position_embeddings": longest,
        "initializer_range": 0.1,
    }
    if kind == "bert":
        return BertModel(BertConfig(**sizes | changes), add_pooling_layer=False).eval()
    model = ModernBertModel(ModernBertConfig(**sizes | IDS | {"local_attention": 24} | changes)).eval()
    for name, parameter in model.named_parameters():  # transformers' own are zero, or small in the depth of the model
        if name.endswith("bias") or name.endswith("Wo.weight"):
            nn.init.normal_(parameter, std=0.1)
    return model


def stack_of(model: Any) -> nn.Module:
    """What holds the layers' parameters and nothing else."""
    return model.layers if isinstance(model, ModernBertModel) else model.encoder


def plain_layers(model: Any, hidden: Tensor, lengths: list[int]) -> Tensor:
    """Each sentence on its own through transformers' layers in float32."""
    one = _plain_modernbert if isinstance(model, ModernBertModel) else _plain_bert
    return torch.cat([one(model, part[None])[0] for part in hidden.split(lengths) if len(part)])


def _plain_bert(model: Any, hidden: Tensor) -> Tensor:
    return model.encoder(hidden).last_hidden_state


def _plain_modernbert(model: Any, hidden: Tensor) -> Tensor:
    ids = torch.arange(hidden.shape[1])
    near = (ids[:, None] - ids).abs() <= model.config.local_attention // 2
    for layer in model.layers:
        mask = near[None, None] if layer.attention_type == "sliding_attention" else None
        angles = model.rotary_emb(hidden, ids[None], layer.attention_type)
        hidden = layer(hidden, attention_mask=mask, position_embeddings=angles)
    return hidden


def native_layers(model, hidden, lengths, dtype=torch.float32, rates=NO_DROPOUT, read=None, **changes) -> Tensor:
    layers = find_stack(model).read()
    batch = Batch(torch.tensor(lengths, dtype=torch.int32), read)
    step = Step(layers.shape(), batch, rates, dtype, positions=positions_of(model, layers, hidden, lengths), **changes)
    return run_layers(hidden, step, layers.parameters())


def positions_of(model: Any, layers: Layers, hidden: Tensor, lengths: list[int]) -> Positions | None:
    if not isinstance(model, ModernBertModel):
        return None
    ids = torch.cat([torch.arange(length) for length in lengths])
    return layers.positions(model.rotary_emb, hidden[None], ids[None])


def gradients_of(
    model: Any, compute: Callable[[Tensor], Tensor], hidden: Tensor, weight: Tensor | float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The input's and the parameters' gradients of the weighted sum of what `compute` gives."""
    model.zero_grad()
    given_hidden = hidden.clone().requires_grad_()
    (compute(given_hidden) * weight).sum().backward()
    grads = {name: p.grad.clone() for name, p in stack_of(model).named_parameters() if p.grad is not None}
    return given_hidden.grad, grads


def assert_near(found, expected, relative: float, what: str, scale: float = 0.0) -> None:
    """`scale`: the size of comparable gradients, for those that are truly zero (queries of a single token)."""
    distance = (found - expected).norm() / max(expected.norm(), 0.05 * scale, 1e-12)
    assert distance <= relative, f"{what}: {float(distance):.2e} > {relative}"


def compare(model, lengths, dtype, relative, read=None) -> None:
    generator = torch.Generator().manual_seed(len(lengths) + sum(lengths))
    rows, width = sum(lengths), model.config.hidden_size
    hidden = torch.randn(rows, width, generator=generator)
    weight = torch.randn(rows, width, generator=generator)
    if read is not None:
        weight = weight * read[:, None]
    expected = plain_layers(model, hidden, lengths)
    found = native_layers(model, hidden, lengths, dtype, read=read)
    seen = torch.ones(rows, dtype=torch.bool) if read is None else read.bool()
    assert_near(found[seen], expected[seen], relative, "output")
    assert read is None or not found[~seen].any()
    plain = gradients_of(model, lambda given: plain_layers(model, given, lengths), hidden, weight)
    native = gradients_of(model, lambda given: native_layers(model, given, lengths, dtype, read=read), hidden, weight)
    assert_near(native[0], plain[0], relative, "input")
    assert native[1].keys() == plain[1].keys() and len(plain[1]) == len(list(stack_of(model).parameters()))
    scale = max(float(gradient.norm()) for gradient in plain[1].values())
    for name, gradient in plain[1].items():
        assert_near(native[1][name], gradient, relative, name, scale)
