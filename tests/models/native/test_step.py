"""The native step computes what the layers compute one by one: losses, gradients, dropout, for ragged and odd shapes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertModel

from finetune.models.native import building, step
from finetune.models.native.layers import find_stack
from finetune.models.native.serving import use_native_encoder
from finetune.models.native.step import Batch, Rates, Step, run_layers
from finetune.models.unpadding.hooks import unpad_encoder

try:
    HAS_BFLOAT16 = bool(building.load_library().encoder_has_bfloat16())
except building.NoLibraryError as error:
    pytest.skip(f"no native step: {error}", allow_module_level=True)

NO_DROPOUT = Rates()
NUMBERS = [torch.float32, *([torch.bfloat16] if HAS_BFLOAT16 else [])]


def make_encoder(hidden=64, heads=2, wide=96, layers=2, seed=0, longest=600) -> BertModel:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=50,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=wide,
        num_hidden_layers=layers,
        max_position_embeddings=longest,
        initializer_range=0.1,
    )
    return BertModel(config, add_pooling_layer=False).eval()


def plain_layers(model: BertModel, hidden: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """Each sentence on its own through transformers' layers in float32."""
    parts = hidden.split(lengths)
    return torch.cat([model.encoder(part[None]).last_hidden_state[0] for part in parts if len(part)])


def native_layers(model, hidden, lengths, dtype=torch.float32, rates=NO_DROPOUT, read=None, **changes) -> torch.Tensor:
    layers = find_stack(model).read()
    batch = Batch(torch.tensor(lengths, dtype=torch.int32), read)
    return run_layers(hidden, Step(layers.shape(), batch, rates, dtype, **changes), layers.parameters())


def gradients_of(model, compute, hidden, weight) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The input's and the parameters' gradients of the weighted sum of what `compute` gives."""
    model.zero_grad()
    given_hidden = hidden.clone().requires_grad_()
    (compute(given_hidden) * weight).sum().backward()
    grads = {name: p.grad.clone() for name, p in model.encoder.named_parameters() if p.grad is not None}
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
    assert native[1].keys() == plain[1].keys() and len(plain[1]) == 16 * model.config.num_hidden_layers
    scale = max(float(gradient.norm()) for gradient in plain[1].values())
    for name, gradient in plain[1].items():
        assert_near(native[1][name], gradient, relative, name, scale)


RELATIVE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize(
    "lengths",
    [[1], [2, 1, 1], [31, 5, 17, 64, 3, 1, 40], [65], [127, 130], [0, 7, 0, 9, 0], [300], [20] * 40],
    ids=lambda lengths: "-".join(map(str, lengths[:8])),
)
def test_outputs_and_gradients_are_those_of_the_layers(lengths, dtype):
    compare(make_encoder(), lengths, dtype, RELATIVE[dtype])


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize("lengths", [[1, 1], [9, 33, 2, 18], [70, 80]], ids=str)
def test_only_what_is_read_goes_through_the_last_layer(lengths, dtype):
    read = (torch.rand(sum(lengths), generator=torch.Generator().manual_seed(2)) < 0.3).to(torch.uint8)
    read[-1] = 1
    compare(make_encoder(), lengths, dtype, RELATIVE[dtype], read=read)


@settings(max_examples=25, deadline=None)
@given(
    size=st.sampled_from([2, 4, 8, 10, 16, 30, 32, 64, 72, 130]),
    heads=st.integers(1, 8),
    wide=st.integers(1, 90).map(lambda half: 2 * half),
    layers=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=6),
    bfloat16=st.booleans(),
    reads=st.booleans(),
)
def test_any_width_head_size_and_length(size, heads, wide, layers, lengths, bfloat16, reads):
    assume(16 <= size * heads <= 300)  # the norm of two values is -1 and 1 whatever they were
    model = make_encoder(size * heads, heads, wide, layers)
    dtype = torch.bfloat16 if bfloat16 and HAS_BFLOAT16 else torch.float32
    read = (torch.arange(sum(lengths)) % 3 == 0).to(torch.uint8) if reads else None
    compare(model, lengths, dtype, RELATIVE[dtype] * 3, read=read)  # norms of few values amplify rounding


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_a_sentence_is_computed_alike_in_every_batch_and_by_any_number_of_threads(dtype):
    model, generator = make_encoder(), torch.Generator().manual_seed(1)
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


def test_what_is_dropped_is_dropped_with_the_asked_probability_and_independently():
    """A layer that adds nothing but a constant shows its mask: what the projection's dropout leaves is 0 or 1 / (1 - p)."""
    model = make_encoder(hidden=64, heads=2, layers=1)
    layer = model.encoder.layer[0]
    with torch.no_grad():
        for linear in (layer.attention.output.dense, layer.output.dense):
            linear.weight.zero_()
            linear.bias.zero_()
        layer.attention.output.dense.bias.fill_(1.0)
    lengths, p = [50, 30, 120] * 10, 0.3
    hidden = torch.zeros(sum(lengths), 64)
    torch.manual_seed(5)
    masks = [native_layers(model, hidden, lengths, rates=Rates(projected=p)) > 0 for _ in range(2)]
    for mask in masks:
        count = mask.numel()
        assert abs(mask.float().mean() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / count)
        other = masks[1] if mask is masks[0] else masks[0]
        for beside in (mask.roll(1, 0), mask.roll(1, 1), mask.flip(0), other, other.roll(1, 0)):
            both = (mask & beside).float().mean()
            assert abs(both - (1 - p) ** 2) < 6 * math.sqrt(0.25 / count) + 1e-3
    assert not torch.equal(*masks)
    torch.manual_seed(5)
    assert torch.equal(native_layers(model, hidden, lengths, rates=Rates(projected=p)) > 0, masks[0])


@pytest.mark.parametrize("rates", [Rates(0.4, 0, 0), Rates(0, 0.4, 0), Rates(0, 0, 0.4)], ids=str)
def test_the_backward_pass_draws_the_masks_of_the_forward_pass(rates):
    """The derivative along a direction, by differences, with the seed held: wrong masks would not even come near."""
    model = make_encoder(hidden=32, heads=2, wide=48, layers=2)
    lengths, generator = [9, 5, 70], torch.Generator().manual_seed(3)
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


def test_weights_that_were_packed_for_a_prediction_serve_a_training_step():
    model, hidden = make_encoder(), torch.randn(12, 64, generator=torch.Generator().manual_seed(3))
    weights = step.PackedWeights()
    _, expected = gradients_of(model, lambda x: native_layers(model, x, [12]), hidden, 1.0)
    with torch.inference_mode():
        native_layers(model, hidden, [12], weights=weights)
    packed = weights.numbers
    _, found = gradients_of(model, lambda x: native_layers(model, x, [12], weights=weights), hidden, 1.0)
    assert weights.numbers is packed
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_two_forward_passes_before_two_backward_passes():
    model = make_encoder()
    first, second = (torch.randn(rows, 64, generator=torch.Generator().manual_seed(rows)) for rows in (20, 33))
    alone = [gradients_of(model, lambda x: native_layers(model, x, [len(x)]), h, 1.0)[1] for h in (first, second)]
    model.zero_grad()
    outputs = [native_layers(model, h.clone().requires_grad_(), [len(h)]).sum() for h in (first, second)]
    outputs[0].backward()
    outputs[1].backward()
    for name, p in model.encoder.named_parameters():
        torch.testing.assert_close(p.grad, alone[0][name] + alone[1][name])


def test_frozen_parameters_get_no_gradient_and_lower_frozen_layers_are_left_out():
    model = make_encoder(layers=3)
    lengths, generator = [9, 30], torch.Generator().manual_seed(3)
    hidden, weight = (torch.randn(39, 64, generator=generator) for _ in range(2))
    _, expected = gradients_of(model, lambda x: native_layers(model, x, lengths), hidden, weight)
    model.encoder.layer[0].requires_grad_(False)
    model.encoder.layer[1].attention.requires_grad_(False)
    model.encoder.layer[2].output.dense.weight.requires_grad_(False)
    model.zero_grad()
    (native_layers(model, hidden, lengths) * weight).sum().backward()  # nothing below layer 1 needs a gradient
    wanted = {name for name, p in model.encoder.named_parameters() if p.requires_grad}
    found = {name: p.grad for name, p in model.encoder.named_parameters() if p.grad is not None}
    assert found.keys() == wanted
    assert all(torch.equal(found[name], expected[name]) for name in wanted)


def test_twenty_steps_of_training_in_bfloat16_follow_float32():
    if not HAS_BFLOAT16:
        pytest.skip("this CPU does not multiply bfloat16 natively")
    config = {"hidden": 64, "heads": 4, "wide": 128, "layers": 3}
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
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 5e-3


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
