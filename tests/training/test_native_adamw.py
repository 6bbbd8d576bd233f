"""AdamW as one C++ pass is torch's fused AdamW to rounding, with torch's own state."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForTokenClassification, ModernBertConfig, ModernBertForTokenClassification

from finetune.models.native import building, updates
from finetune.models.native.serving import native_layers, use_native_encoder
from finetune.models.native.step import PackedWeights
from finetune.models.sparse_embedding import follow_weight_decay, use_sparse_embedding
from finetune.models.unpadding.hooks import unpad_encoder
from finetune.training.folded_clipping import fold_into
from finetune.training.native_adamw import NativeAdamW, use_native_adamw

try:
    building.load_library()
except building.NoLibraryError as error:
    pytest.skip(f"no native step: {error}", allow_module_level=True)

SIZES = [(33,), (1,), (48, 20), (5, 7, 3), (40_000,), (300, 65)]


def make_parameters(dtypes=(torch.float32,)) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [
        nn.Parameter(torch.randn(size, generator=generator).to(dtypes[number % len(dtypes)]))
        for number, size in enumerate(SIZES)
    ]


def make_optimizer(parameters, *, native: bool, **options) -> torch.optim.AdamW:
    half = len(parameters) // 2
    groups = [
        {"params": parameters[:half], "weight_decay": 0.1},
        {"params": parameters[half:], "lr": 3e-3, "eps": 1e-6},
    ]
    optimizer = torch.optim.AdamW(
        groups, **{"lr": 1e-2, "weight_decay": 0.0, "betas": (0.8, 0.99), "fused": True, **options}
    )
    assert not native or use_native_adamw(optimizer, nn.Module()) is None
    return optimizer


def take_steps(parameters, optimizer, steps, first=0, divisor=None, without=()) -> None:
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + first + step))
    for number in range(first, first + steps):
        generator = torch.Generator().manual_seed(number)
        for place, parameter in enumerate(parameters):
            gradient = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            parameter.grad = None if (place, number) in without or not parameter.requires_grad else gradient
        optimizer.grad_scale = None if divisor is None else torch.tensor(divisor)
        optimizer.found_inf = None
        optimizer.step()
        schedule.step()


def assert_same(optimizers, parameters, rtol=2e-6, atol=2e-7) -> None:
    for a, b in zip(*parameters, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)
        states = [optimizer.state.get(p, {}) for optimizer, p in zip(optimizers, (a, b), strict=True)]
        assert states[0].keys() == states[1].keys()
        for name in states[0]:
            torch.testing.assert_close(states[0][name], states[1][name], rtol=rtol, atol=atol)


@pytest.mark.parametrize("divisor", [None, 3.7])
@pytest.mark.parametrize("without", [(), {(0, 0), (0, 1), (0, 2), (2, 1), (4, 2)}])
def test_groups_schedules_clipping_and_missing_gradients_are_torchs(divisor, without):
    parameters = make_parameters(), make_parameters()
    for several in parameters:
        several[3].requires_grad_(False)
    optimizers = [make_optimizer(p, native=native) for p, native in zip(parameters, (True, False), strict=True)]
    for several, optimizer in zip(parameters, optimizers, strict=True):
        take_steps(several, optimizer, 5, divisor=divisor, without=without)
    assert type(optimizers[0]) is NativeAdamW
    assert_same(optimizers, parameters)
    assert optimizers[0].state_dict().keys() == optimizers[1].state_dict().keys()
    assert optimizers[0].state_dict()["param_groups"] == optimizers[1].state_dict()["param_groups"]


@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True), (True, True)])
def test_either_goes_on_from_the_others_state(before, after):
    whole, parts = make_parameters(), make_parameters()
    optimizer = make_optimizer(whole, native=before and after)
    take_steps(whole, optimizer, 6)
    first = make_optimizer(parts, native=before)
    take_steps(parts, first, 3)
    resumed = [nn.Parameter(parameter.detach().clone()) for parameter in parts]
    second = make_optimizer(resumed, native=after)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for group in second.param_groups:
        group["lr"] = group["initial_lr"]
        del group["initial_lr"]
    take_steps(resumed, second, 3, first=3)
    exact = {"rtol": 0.0, "atol": 0.0} if before and after else {}
    assert_same((optimizer, second), (whole, resumed), **exact)


def test_the_bits_are_the_same_for_any_number_of_threads():
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2, 5):
            torch.set_num_threads(number)
            parameters = make_parameters()
            optimizer = make_optimizer(parameters, native=True)
            for parameter in parameters:
                parameter.grad = torch.ones_like(parameter) * 0.3
            norm = fold_into(optimizer, parameters, 0.5)
            optimizer.step()
            found.append([norm, *parameters])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    gradients = torch.cat([parameter.grad.flatten().double() for parameter in found[0][1:]])
    assert float(found[0][0]) == pytest.approx(float(gradients.norm()), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "dtypes", "reason"),
    [
        ({"amsgrad": True}, (torch.float32,), "amsgrad is on"),
        ({"maximize": True}, (torch.float32,), "maximize is on"),
        ({}, (torch.float32, torch.bfloat16), "not plain float32 tensors"),
        ({}, (torch.float64,), "not plain float32 tensors"),
    ],
)
def test_what_the_pass_does_not_compute_torch_does_and_the_log_says_it_once(options, dtypes, reason, caplog):
    parameters = make_parameters(dtypes), make_parameters(dtypes)
    optimizers = [make_optimizer(p, native=n, **options) for p, n in zip(parameters, (True, False), strict=True)]
    calls: list[int] = []
    optimizers[0].register_step_post_hook(lambda *_: calls.append(1))
    with caplog.at_level(logging.WARNING):
        for several, optimizer in zip(parameters, optimizers, strict=True):
            take_steps(several, optimizer, 3)
    assert_same(optimizers, parameters, rtol=0.0, atol=0.0)
    assert [record.message for record in caplog.records if reason in record.message].__len__() == 1
    assert len(calls) == 3


def test_gradients_that_lie_otherwise_in_memory_and_hooks():
    parameter, plain = nn.Parameter(torch.ones(6, 4)), nn.Parameter(torch.ones(6, 4))
    native, torchs = (torch.optim.AdamW([p], fused=True) for p in (parameter, plain))
    assert use_native_adamw(native, nn.Module()) is None
    seen: list[str] = []
    native.register_step_pre_hook(lambda *_: seen.append("before"))
    native.register_step_post_hook(lambda *_: seen.append("after"))
    parameter.grad = torch.arange(24.0).view(4, 6).t()
    plain.grad = parameter.grad.contiguous()
    version = parameter._version
    native.step(), torchs.step()
    torch.testing.assert_close(parameter, plain)
    assert seen == ["before", "after"] and parameter._version > version
    assert use_native_adamw(torch.optim.AdamW([plain]), nn.Module()) == "AdamW is not torch's fused AdamW"


def make_tagger(hidden: int, heads: int, wide: int) -> BertForTokenClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=200, hidden_size=hidden, num_attention_heads=heads, intermediate_size=wide, num_hidden_layers=2,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=3,
    )  # fmt: skip
    model = BertForTokenClassification(config)
    assert unpad_encoder(model) is None and use_native_encoder(model) is None
    return model


def make_modern_tagger(hidden: int, heads: int, wide: int) -> ModernBertForTokenClassification:
    """Three of the kernels' linear layers lie in one weight, and two in another."""
    torch.manual_seed(0)
    config = ModernBertConfig(
        vocab_size=200, hidden_size=hidden, num_attention_heads=heads, intermediate_size=wide, num_hidden_layers=2,
        num_labels=3, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    model = ModernBertForTokenClassification(config)
    assert unpad_encoder(model) is None and use_native_encoder(model) is None
    return model


@pytest.mark.parametrize("make", [make_tagger, make_modern_tagger])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(("hidden", "heads", "wide"), [(32, 2, 64), (36, 3, 50), (100, 2, 134)])
def test_the_pass_leaves_weights_packed_as_they_are_packed_anew(hidden, heads, wide, bf16, frozen, make):
    if bf16 and not building.load_library().encoder_has_bfloat16():
        pytest.skip("no bfloat16 here")
    model = make(hidden, heads, wide)
    assert use_sparse_embedding(model, range(40)) is None
    (model.bert.encoder.layer if make is make_tagger else model.model.layers)[0].requires_grad_(not frozen)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2, fused=True)
    follow_weight_decay(model, optimizer)
    assert use_native_adamw(optimizer, model) is None
    (stack,) = native_layers(model)
    served = stack.__dict__["forward"].args[0]
    ids = torch.arange(24).view(2, 12)
    for _ in range(2):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids % 3).loss.backward()
        before = served.weights.numbers
        packed = before.clone()
        optimizer.step()
    assert served.weights.numbers is before  # no second copy
    assert torch.equal(before, packed) is frozen  # a part that rests is packed with the rest, by the next call
    layers = served.stack.read()
    anew = PackedWeights().of(layers.shape(), layers.parameters(), before.dtype)
    kept = served.weights.of(layers.shape(), layers.parameters(), before.dtype)
    assert torch.equal(kept, anew) and (frozen or kept is served.weights.numbers)


def test_weights_of_several_linear_layers_are_updated_as_torch_updates_them():
    models = [make_modern_tagger(36, 3, 50) for _ in range(2)]
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1, fused=True) for model in models]
    assert use_native_adamw(optimizers[0], models[0]) is None
    ids = torch.arange(24).view(2, 12)
    for _ in range(4):
        models[0].zero_grad()
        models[0](input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids % 3).loss.backward()
        for own, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
            other.grad = None if own.grad is None else own.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert_same(optimizers, [list(model.parameters()) for model in models])


def test_a_backward_pass_from_before_the_step_is_refused_and_a_step_that_fails_leaves_nothing_packed(monkeypatch):
    """The packed weights are written over: nothing may go on from the old ones, or take half of the new ones."""
    model = make_tagger(32, 2, 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    assert use_native_adamw(optimizer, model) is None
    ids = torch.arange(24).view(2, 12)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids % 3}
    late = model(**batch).loss
    model(**batch).loss.backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        late.backward()
    (stack,) = native_layers(model)
    served = stack.__dict__["forward"].args[0]
    before = served.weights.numbers
    model(**batch).loss.backward()
    monkeypatch.setattr(updates, "require_memory", fail)
    with pytest.raises(MemoryError):
        optimizer.step()
    model(**batch)
    assert served.weights.numbers is not before


def fail(code: int) -> None:
    raise MemoryError(code)
