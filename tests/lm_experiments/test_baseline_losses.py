"""The divergence from the baseline: against its definition, 0 for a model and itself, and strong enough to hold a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BertForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

from finetune.errors import DataError, UsageError
from finetune.lm_experiments.baseline_losses import (
    KLBaselineLoss,
    OutputsDefaultLoss,
    counted_positions,
    kl_from_baseline,
    resolve_reduction,
)
from finetune.lm_experiments.preprocessing import expand_with_masks, identity, mask_random_tokens
from tests.tiny import bert_config, gpt2, word_level

KINDS = ("lm", "mlm", "seq2seq")


@pytest.fixture(scope="module")
def tokenizer():
    names = ["<pad>", "</s>", "<unk>", "[MASK]", *"abcdefghij"]
    roles = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "[MASK]"}
    return word_level(names, **roles)


@pytest.fixture
def texts(tmp_path):
    paths = [tmp_path / "one.txt", tmp_path / "two.txt"]
    paths[0].write_text("a b c d\ne f\ng h i j a b\n")
    paths[1].write_text("j i h\na\n")
    return [str(path) for path in paths]


def make_model(kind: str):
    torch.manual_seed(1)
    if kind == "lm":
        model = gpt2(14, seed=1, n_positions=16)
    elif kind == "mlm":
        model = BertForMaskedLM(bert_config(14, intermediate_size=16))
    else:
        shape = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
        model = T5ForConditionalGeneration(T5Config(vocab_size=14, decoder_start_token_id=0, **shape))
    return model.eval()


def disturb(model, scale: float = 0.3):
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_divergence_is_that_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    tuned, base = rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 3, 5))
    counted = np.array([[True, False, True], [False, False, False]])
    log_p = torch.log_softmax(torch.tensor(base), -1)
    found = kl_from_baseline(torch.tensor(tuned), log_p.float(), torch.tensor(counted))
    p = np.exp(base) / np.exp(base).sum(-1, keepdims=True)
    q = np.exp(tuned) / np.exp(tuned).sum(-1, keepdims=True)
    expected = (p * np.log(p / q)).sum(-1)[0, [0, 2]].mean()
    assert found.tolist() == pytest.approx([expected, 0], abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, lambda each: each.sum(-1).mean()),
        ({"reduction": "batchmean"}, lambda each: each.sum(-1).mean()),
        ({"reduction": "sum"}, lambda each: each.sum()),
        ({"reduction": "mean"}, lambda each: each.mean()),
        ({"size_average": False}, lambda each: each.sum()),
        ({"size_average": True}, lambda each: each.mean()),
        ({"reduce": False}, lambda each: each.sum(-1).mean()),
    ],
)
def test_reductions_are_those_of_torch(arguments, expected):
    torch.manual_seed(0)
    logits, baseline = torch.randn(1, 3, 5), torch.log_softmax(torch.randn(1, 3, 5), -1)
    each = torch.nn.KLDivLoss(reduction="none", log_target=True)(torch.log_softmax(logits, -1), baseline)
    settled = resolve_reduction(**{"reduction": "none", "size_average": None, "reduce": None, **arguments})
    found = kl_from_baseline(logits, baseline, torch.ones(1, 3, dtype=torch.bool), settled)
    assert found.item() == pytest.approx(expected(each).item(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", ["once", "per_batch"])
def test_a_model_does_not_diverge_from_itself(kind, strategy, tokenizer, texts):
    loss = KLBaselineLoss(make_model(kind), tokenizer, dataset=texts, data_preprocessing_fn_strategy=strategy)
    for _ in range(2):  # computed, then from what was kept
        assert loss().item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_scales_means_and_the_cache(kind, tokenizer, texts):
    model = make_model(kind)
    loss = KLBaselineLoss(model, tokenizer, dataset=texts, scaleby=[2.0, 10.0], n_examples_per_batch=None)
    each = KLBaselineLoss(model, tokenizer, dataset=texts, scaleby=1.0, n_examples_per_batch=None, return_all=True)
    disturb(model)
    alone = each()
    assert alone.shape == (5,) and (alone >= 0).all() and (alone[:3] > 0).all()
    expected = (2 * alone[:3].mean() + 10 * alone[3:].mean()) / 2
    assert loss().item() == pytest.approx(expected.item(), rel=1e-4)
    forwards = []
    loss.baseline.register_forward_hook(lambda *_: forwards.append(1))
    assert loss().item() == pytest.approx(expected.item(), rel=1e-4)
    assert not forwards


def test_batches_of_any_size_agree(tokenizer, texts):
    model = make_model("lm")
    losses = [KLBaselineLoss(model, tokenizer, dataset=texts, batch_size=size) for size in (1, 2, 32)]
    disturb(model)
    values = [loss().item() for loss in losses]
    assert values == pytest.approx([values[0]] * 3, rel=1e-4)


def test_gradients_reach_the_model_and_not_the_baseline(tokenizer, texts):
    model = make_model("lm")
    loss = KLBaselineLoss(model, tokenizer, dataset=texts)
    disturb(model)
    loss().backward()
    assert model.transformer.wte.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in loss.baseline.parameters())


def test_draws_depend_on_seed_and_call_only(tokenizer, texts):
    model = make_model("lm")
    make = lambda seed: KLBaselineLoss(model, tokenizer, dataset=texts, n_examples_per_batch=[1, 1], seed=seed)  # noqa: E731
    first, second, other = make(3), make(3), make(4)
    disturb(model)
    values = [[loss().item() for _ in range(6)] for loss in (first, second, other)]
    assert values[0] == pytest.approx(values[1]) and values[0] != pytest.approx(values[2])
    assert len({round(value, 5) for value in values[0]}) > 1


def test_preprocessing_hides_the_same_from_both(tokenizer, texts):
    model = make_model("mlm")
    for function in (mask_random_tokens, expand_with_masks, identity):
        loss = KLBaselineLoss(model, tokenizer, dataset=texts, data_preprocessing_fn=function)
        assert loss().item() == pytest.approx(0, abs=1e-6)


def test_new_tokens_are_left_out_of_the_comparison():
    logits = torch.randn(1, 2, 7)
    baseline = torch.log_softmax(logits[..., :5], -1)
    assert kl_from_baseline(logits, baseline, torch.ones(1, 2, dtype=torch.bool)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_large_scale_keeps_the_model_near_its_baseline(seed, tokenizer, texts):
    ends = []
    for scale in (0.0, 50.0):
        model = make_model("lm")
        loss = KLBaselineLoss(model, tokenizer, dataset=texts, scaleby=scale, seed=seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
        ids = torch.randint(4, 14, (4, 6), generator=torch.Generator().manual_seed(seed))
        for _ in range(15):
            optimizer.zero_grad()
            outputs = model(input_ids=ids, labels=ids)
            (OutputsDefaultLoss(model, tokenizer)(outputs, ids) + loss(outputs, ids)).backward()
            optimizer.step()
        loss.scales = [1.0, 1.0]
        ends.append(loss().item())
    assert ends[1] < ends[0] / 2


def test_the_default_loss_is_the_models_own(tokenizer):
    model, ids = make_model("lm"), torch.tensor([[4, 5, 6]])
    outputs = model(input_ids=ids, labels=ids)
    assert OutputsDefaultLoss(model, tokenizer)(outputs, ids) is outputs.loss


def test_causal_positions_are_those_of_the_next_label():
    labels = torch.tensor([[1, 5, -100]])
    assert counted_positions(labels, "lm").tolist() == [[True, False, False]]
    assert counted_positions(labels, "mlm").tolist() == [[True, True, False]]


def test_wrong_arguments(tokenizer, texts, tmp_path):
    model = make_model("lm")
    with pytest.raises(UsageError, match="scaleby has 3 values for 2 data sets"):
        KLBaselineLoss(model, tokenizer, dataset=texts, scaleby=[1, 2, 3])
    with pytest.raises(UsageError, match="did you mean 'per_batch'"):
        KLBaselineLoss(model, tokenizer, dataset=texts, data_preprocessing_fn_strategy="per_bach")
    with pytest.raises(UsageError, match="did you mean 'mean'"):
        KLBaselineLoss(model, tokenizer, dataset=texts, reduction="meen")
    with pytest.raises(DataError, match="no such file"):
        KLBaselineLoss(model, tokenizer, dataset=str(tmp_path / "three.txt"))
