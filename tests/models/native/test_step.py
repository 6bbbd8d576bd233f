"""The native step computes what the layers compute one by one: losses, gradients, dropout, for ragged and odd shapes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from finetune.models.native import building, step
from finetune.models.native.layers import find_stack
from finetune.models.native.serving import use_native_encoder
from finetune.models.native.step import Rates
from finetune.models.unpadding.hooks import unpad_encoder
from tests.models.native.encoders import (
    BIASES,
    KINDS,
    RELATIVE,
    compare,
    gradients_of,
    make_encoder,
    native_layers,
    stack_of,
)

try:
    HAS_BFLOAT16 = bool(building.load_library().encoder_has_bfloat16())
except building.NoLibraryError as error:
    pytest.skip(f"no native step: {error}", allow_module_level=True)

NUMBERS = [torch.float32, *([torch.bfloat16] if HAS_BFLOAT16 else [])]


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize(
    "lengths",
    [[1], [2, 1, 1], [31, 5, 17, 64, 3, 1, 40], [65], [127, 130], [0, 7, 0, 9, 0], [300], [20] * 40],
    ids=lambda lengths: "-".join(map(str, lengths[:8])),
)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_gradients_are_those_of_the_layers(kind, lengths, dtype):
    compare(make_encoder(kind=kind), lengths, dtype, RELATIVE[dtype])


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize("local", [0, 2, 30, 126, 128, 130, 500])
def test_a_window_ends_where_it_ends_in_short_and_long_sentences(local, dtype):
    """Local and global layers, windows within, at and beyond blocks of 64 keys; with and without biases."""
    model = make_encoder(layers=4, kind="modernbert", local_attention=local, **(BIASES if local % 4 else {}))
    compare(model, [1, 63, 64, 65, 200, 129, 2, 321], dtype, RELATIVE[dtype])


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize("lengths", [[1, 1], [9, 33, 2, 18], [70, 80]], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_read_goes_through_the_last_layer(kind, lengths, dtype):
    read = (torch.rand(sum(lengths), generator=torch.Generator().manual_seed(2)) < 0.3).to(torch.uint8)
    read[-1] = 1
    compare(make_encoder(kind=kind), lengths, dtype, RELATIVE[dtype], read=read)


@settings(max_examples=25, deadline=None)
@given(
    size=st.sampled_from([2, 4, 8, 10, 16, 30, 32, 64, 72, 130]),
    heads=st.integers(1, 8),
    wide=st.integers(1, 90).map(lambda half: 2 * half),
    layers=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=6),
    bfloat16=st.booleans(),
    reads=st.booleans(),
    modern=st.booleans(),
    biases=st.booleans(),
    local=st.integers(0, 80),
)
def test_any_width_head_size_and_length(size, heads, wide, layers, lengths, bfloat16, reads, modern, biases, local):
    assume(16 <= size * heads <= 300)  # the norm of two values is -1 and 1 whatever they were
    changes = {"kind": "modernbert", "local_attention": local, **(BIASES if biases else {})} if modern else {}
    model = make_encoder(size * heads, heads, wide, layers, **changes)
    dtype = torch.bfloat16 if bfloat16 and HAS_BFLOAT16 else torch.float32
    read = (torch.arange(sum(lengths)) % 3 == 0).to(torch.uint8) if reads else None
    compare(model, lengths, dtype, RELATIVE[dtype] * 3, read=read)  # norms of few values amplify rounding


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_is_computed_alike_in_every_batch_and_by_any_number_of_threads(kind, dtype):
    model, generator = make_encoder(kind=kind), torch.Generator().manual_seed(1)
    sentences = [torch.randn(length, 64, generator=generator) for length in (11, 70, 3, 33, 128, 1, 29)]
    hidden, lengths = torch.cat(sentences), [len(sentence) for sentence in sentences]
    with torch.no_grad():
        together = native_layers(model, hidden, lengths, dtype, threads=1)
        assert torch.equal(together, native_layers(model, hidden, lengths, dtype, threads=2))
        alone = torch.cat([native_layers(model, part, [len(part)], dtype) for part in sentences])
        assert torch.equal(together, alone)
        backwards = native_layers(model, torch.cat(sentences[::-1]), lengths[::-1], dtype)
        assert torch.equal(together, torch.cat(backwards.split(lengths[::-1])[::-1]))
    weight = torch.randn(hidden.shape, generator=generator)
    one, two = (
        gradients_of(model, lambda x, t=threads: native_layers(model, x, lengths, dtype, threads=t), hidden, weight)
        for threads in (1, 2)
    )
    assert torch.equal(one[0], two[0]) and all(torch.equal(one[1][name], two[1][name]) for name in one[1])


def make_constant_layer(kind: str, rate: str):
    """A layer that adds nothing but a constant shows its mask: what dropout leaves of it is 0 or 1 / (1 - p)."""
    if kind == "bert":
        model = make_encoder(hidden=64, heads=2, layers=1)
        layer = model.encoder.layer[0]
        linears = [layer.attention.output.dense, layer.output.dense]
    else:
        model = make_encoder(64, 2, wide=64, layers=1, kind="modernbert", **BIASES)
        layer = model.layers[0]
        linears = [layer.attn.Wo, layer.mlp.Wi, layer.mlp.Wo]
    with torch.no_grad():
        for linear in linears:
            linear.weight.zero_()
            linear.bias.zero_()
        if rate == "projected":
            linears[0].bias.fill_(1.0)
        else:
            layer.mlp.Wi.bias.fill_(1.0)
            layer.mlp.Wo.weight.copy_(torch.eye(64))
    return model


@pytest.mark.parametrize(
    ("kind", "rate"), [("bert", "projected"), ("modernbert", "projected"), ("modernbert", "fed_forward")]
)
def test_what_is_dropped_is_dropped_with_the_asked_probability_and_independently(kind, rate):
    model = make_constant_layer(kind, rate)
    lengths, p = [50, 30, 120] * 10, 0.3
    hidden, rates = torch.zeros(sum(lengths), 64), Rates(**{rate: p})
    torch.manual_seed(5)
    masks = [native_layers(model, hidden, lengths, rates=rates) > 0 for _ in range(2)]
    for mask in masks:
        count = mask.numel()
        assert abs(mask.float().mean() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / count)
        other = masks[1] if mask is masks[0] else masks[0]
        for beside in (mask.roll(1, 0), mask.roll(1, 1), mask.flip(0), other, other.roll(1, 0)):
            both = (mask & beside).float().mean()
            assert abs(both - (1 - p) ** 2) < 6 * math.sqrt(0.25 / count) + 1e-3
    assert not torch.equal(*masks)
    torch.manual_seed(5)
    assert torch.equal(native_layers(model, hidden, lengths, rates=rates) > 0, masks[0])


@pytest.mark.parametrize("rates", [Rates(0.4, 0, 0), Rates(0, 0.4, 0), Rates(0, 0, 0.4)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_backward_pass_draws_the_masks_of_the_forward_pass(kind, rates):
    """The derivative along a direction, by differences, with the seed held: wrong masks would not even come near."""
    model = make_encoder(hidden=32, heads=2, wide=48, layers=2, kind=kind)
    lengths, generator = [9, 5, 170], torch.Generator().manual_seed(3)
    hidden, weight, direction = (torch.randn(sum(lengths), 32, generator=generator) for _ in range(3))

    def value(given: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(7)
        return (native_layers(model, given, lengths, rates=rates).double() * weight).sum()

    given_hidden = hidden.clone().requires_grad_()
    value(given_hidden).backward()
    length = 1e-2
    with torch.no_grad():
        slope = (value(hidden + length * direction) - value(hidden - length * direction)) / (2 * length)
    assert float((given_hidden.grad * direction).sum()) == pytest.approx(float(slope), rel=2e-2)


def test_dropped_attention_keeps_its_mean():
    model = make_encoder(hidden=32, heads=2, wide=48, layers=1)
    hidden = torch.randn(40, 32, generator=torch.Generator().manual_seed(3))
    layer = model.encoder.layer[0]
    stack = find_stack(model).read()
    with torch.no_grad():  # y = norm(h + attention), and the norm of a large constant plus x is linear in x
        whole = native_layers(model, hidden, [40])
        drawn = torch.stack([native_layers(model, hidden, [40], rates=Rates(attention=0.1)) for _ in range(400)])
    assert layer is stack.modules[0]
    distance = (drawn.mean(0) - whole).abs().mean()
    assert distance < 4 * drawn.std(0).mean() / 20
    assert drawn.std(0).mean() > 1e-3


def test_changed_weights_are_packed_anew_however_they_were_changed():
    model, hidden = make_encoder(), torch.randn(12, 64, generator=torch.Generator().manual_seed(3))
    weights = step.PackedWeights()
    with torch.no_grad():
        before = native_layers(model, hidden, [12], weights=weights)
        packed = weights.numbers
        native_layers(model, hidden, [12], weights=weights)
        assert weights.numbers is packed
        model.encoder.layer[1].output.dense.weight.mul_(2)
        changed = native_layers(model, hidden, [12], weights=weights)
        assert not torch.equal(before, changed)
        model.encoder.layer[1].output.dense.weight.data.mul_(0.5)  # leaves no trace in the version counter
        assert torch.equal(native_layers(model, hidden, [12], weights=weights), before)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_were_packed_for_a_prediction_serve_a_training_step(kind):
    model, hidden = make_encoder(kind=kind), torch.randn(12, 64, generator=torch.Generator().manual_seed(3))
    weights = step.PackedWeights()
    _, expected = gradients_of(model, lambda x: native_layers(model, x, [12]), hidden, 1.0)
    with torch.inference_mode():
        native_layers(model, hidden, [12], weights=weights)
    packed = weights.numbers
    _, found = gradients_of(model, lambda x: native_layers(model, x, [12], weights=weights), hidden, 1.0)
    assert weights.numbers is packed
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_two_forward_passes_before_two_backward_passes(kind):
    model = make_encoder(kind=kind)
    first, second = (torch.randn(rows, 64, generator=torch.Generator().manual_seed(rows)) for rows in (20, 33))
    alone = [gradients_of(model, lambda x: native_layers(model, x, [len(x)]), h, 1.0)[1] for h in (first, second)]
    model.zero_grad()
    outputs = [native_layers(model, h.clone().requires_grad_(), [len(h)]).sum() for h in (first, second)]
    outputs[0].backward()
    outputs[1].backward()
    for name, p in stack_of(model).named_parameters():
        torch.testing.assert_close(p.grad, alone[0][name] + alone[1][name])


FROZEN = {"bert": ("attention", "output.dense"), "modernbert": ("attn", "mlp.Wo")}


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_parameters_get_no_gradient_and_lower_frozen_layers_are_left_out(kind):
    model = make_encoder(layers=3, kind=kind)
    lengths, generator = [9, 30], torch.Generator().manual_seed(3)
    hidden, weight = (torch.randn(39, 64, generator=generator) for _ in range(2))
    _, expected = gradients_of(model, lambda x: native_layers(model, x, lengths), hidden, weight)
    layers, (attention, narrow) = find_stack(model).read().modules, FROZEN[kind]
    layers[0].requires_grad_(False)
    layers[1].get_submodule(attention).requires_grad_(False)
    layers[2].get_submodule(narrow).weight.requires_grad_(False)
    model.zero_grad()
    (native_layers(model, hidden, lengths) * weight).sum().backward()  # nothing below layer 1 needs a gradient
    wanted = {name for name, p in stack_of(model).named_parameters() if p.requires_grad}
    found = {name: p.grad for name, p in stack_of(model).named_parameters() if p.grad is not None}
    assert found.keys() == wanted
    assert all(torch.equal(found[name], expected[name]) for name in wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_twenty_steps_of_training_in_bfloat16_follow_float32(kind):
    if not HAS_BFLOAT16:
        pytest.skip("this CPU does not multiply bfloat16 natively")
    config = {"hidden": 64, "heads": 4, "wide": 128, "layers": 3, "kind": kind}
    torch.manual_seed(0)
    ids, labels = torch.randint(5, 50, (8, 24)), torch.randint(0, 3, (8, 24))
    mask = (torch.arange(24) < torch.tensor([24, 3, 9, 17, 24, 5, 12, 1])[:, None]).long()
    labels = labels.masked_fill(mask == 0, -100)
    losses = []
    for bf16 in (False, True):
        model = make_encoder(**config).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        head = torch.nn.Linear(64, 3)
        torch.nn.init.normal_(head.weight, std=0.1, generator=torch.Generator().manual_seed(1))
        torch.nn.init.zeros_(head.bias)
        assert unpad_encoder(model) is None
        if bf16:
            assert use_native_encoder(model) is None
        optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=1e-4)
        own = []
        for _ in range(20):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                states = model(input_ids=ids, attention_mask=mask).last_hidden_state
            loss = torch.nn.functional.cross_entropy(head(states.float()).flatten(0, 1), labels.flatten())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            own.append(float(loss.detach()))
        losses.append(own)
    assert losses[0][-1] < losses[0][0] - 0.02
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < {"bert": 5e-3, "modernbert": 1e-3}[kind]


def test_a_second_backward_pass_needs_a_graph_that_was_kept():
    model, hidden = make_encoder(), torch.randn(5, 64, generator=torch.Generator().manual_seed(3))
    output = native_layers(model, hidden, [5]).square().sum()
    name, parameter = next(model.encoder.named_parameters())
    output.backward(retain_graph=True)
    once = parameter.grad.clone()
    output.backward()
    torch.testing.assert_close(parameter.grad, 2 * once, msg=name)
    with pytest.raises(RuntimeError, match="second time"):
        output.backward()
