"""An encoder that runs as a native step is the same model, for every family and head and where the step cannot serve."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    CamembertConfig,
    DebertaConfig,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from finetune.models.native import building
from finetune.models.native.serving import is_native, use_native_encoder, use_plain_encoder
from finetune.models.unpadding.hooks import pad_encoder, unpad_encoder

try:
    building.load_library()
except building.NoLibraryError as error:
    pytest.skip(f"no native step: {error}", allow_module_level=True)

SIZES = {"vocab_size": 101, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_labels": 5}
WIDE = {"intermediate_size": 48, "max_position_embeddings": 64}
QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
IDS = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
MODERN = SIZES | WIDE | IDS | {"initializer_range": 0.1}
CONFIGS = {
    "bert": BertConfig(**SIZES, **WIDE, **QUIET),
    "roberta": RobertaConfig(**SIZES, **WIDE, **QUIET),
    "xlm-roberta": XLMRobertaConfig(**SIZES, **WIDE, **QUIET),
    "camembert": CamembertConfig(**SIZES, **WIDE, **QUIET),
    "electra": ElectraConfig(**SIZES, **WIDE, **QUIET, embedding_size=16),
    "distilbert": DistilBertConfig(
        vocab_size=101, dim=32, n_layers=3, n_heads=4, hidden_dim=48, max_position_embeddings=64, num_labels=5,
        dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0,
    ),
    "modernbert": ModernBertConfig(**MODERN, local_attention=8),
    "modernbert-mean": ModernBertConfig(**MODERN, local_attention=30, classifier_pooling="mean", norm_bias=True),
    "modernbert-biases": ModernBertConfig(
        **MODERN, layer_types=["sliding_attention", "full_attention", "sliding_attention"], attention_bias=True,
        mlp_bias=True, rope_parameters={
            "full_attention": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1000.0},
            "sliding_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0},
        },
    ),
}  # fmt: skip
HEADS = [AutoModelForTokenClassification, AutoModelForSequenceClassification, AutoModelForMaskedLM]
LENGTHS = [23, 5, 9, 2, 14, 3, 1, 60]
MESSAGE = "run one by one"


def make_batch(head: type = AutoModelForTokenClassification) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(5, 101, mask.shape, generator=generator) * mask + (1 - mask)
    classes = 101 if head is AutoModelForMaskedLM else 5
    whole = torch.randint(classes, mask.shape, generator=generator).masked_fill(mask == 0, -100)
    labels = torch.randint(5, mask.shape[:1], generator=generator)
    sequence = head is AutoModelForSequenceClassification
    return {"input_ids": ids, "attention_mask": mask, "labels": labels if sequence else whole}


def make_pair(family="bert", head=AutoModelForTokenClassification, **changes):
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS[family])
    config.update(changes)
    plain = head.from_config(config).train()
    native = copy.deepcopy(plain)
    assert unpad_encoder(native) is None
    return plain, native


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.__name__)
@pytest.mark.parametrize("family", CONFIGS)
def test_losses_and_gradients_of_training_are_equal(family, head, caplog):
    plain, native = make_pair(family, head)
    names = list(native.state_dict())
    assert use_native_encoder(native) is None and is_native(native) and not is_native(plain)
    batch = make_batch(head)
    expected, found = plain(**batch), native(**batch)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-6, atol=1e-6)
    expected.loss.backward()
    found.loss.backward()
    wanted, got = gradients(plain), gradients(native)
    assert wanted.keys() == got.keys() and len(wanted) > (20 if "modern" in family else 40)
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-4, atol=2e-6, msg=lambda m, name=name: f"{name}: {m}")
    assert MESSAGE not in caplog.text
    assert list(native.state_dict()) == names


@pytest.mark.parametrize("family", ["bert", "modernbert", "modernbert-biases"])
def test_in_bfloat16_gradients_are_within_two_per_cent(family):
    if not building.load_library().encoder_has_bfloat16():
        pytest.skip("this CPU does not multiply bfloat16 natively")
    plain, native = make_pair(family)
    assert use_native_encoder(native) is None
    batch = make_batch()
    plain(**batch).loss.backward()
    with torch.autocast("cpu", torch.bfloat16):
        states = native.base_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
    logits = native.classifier(states if family == "bert" else native.head(states))
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten()).backward()
    scale = max(gradient.norm() for gradient in gradients(plain).values())
    for name, gradient in gradients(plain).items():
        distance = (gradients(native)[name] - gradient).norm() / torch.maximum(gradient.norm(), 0.01 * scale)
        assert distance < 0.02, f"{name}: {float(distance)}"


def call(model, **changes):
    batch = make_batch() | changes
    return model(**{name: value for name, value in batch.items() if name != "labels"})


@pytest.mark.parametrize("family", ["bert", "modernbert"])
@pytest.mark.parametrize("asked_by", ["call", "configuration"])
def test_hidden_states_of_layers_are_served_by_the_layers_and_only_then(family, asked_by, caplog):
    plain, native = make_pair(family)
    use_native_encoder(native)
    with torch.no_grad():
        asked = {"output_hidden_states": True} if asked_by == "call" else {}
        plain.config.output_hidden_states = native.config.output_hidden_states = asked_by == "configuration"
        expected, found = call(plain, **asked), call(native, **asked)
        native.config.output_hidden_states = False
        assert caplog.text.count(MESSAGE) == 1
        caplog.clear()
        for one, other in zip(found.hidden_states, expected.hidden_states, strict=True):
            real = make_batch()["attention_mask"].bool()
            torch.testing.assert_close(one[real], other[real], rtol=1e-4, atol=1e-5)
        layers_of(native)[0].forward = pytest.fail  # would be called if the layers ran one by one
        call(native)
    assert MESSAGE not in caplog.text


def layers_of(model: torch.nn.Module) -> torch.nn.ModuleList:
    return model.bert.encoder.layer if hasattr(model, "bert") else model.model.layers


def put_adapter(model: torch.nn.Module) -> None:
    layer = layers_of(model)[0]
    name = "dense" if hasattr(layer, "output") else "Wo"
    setattr(layer.output if name == "dense" else layer.mlp, name, Adapter(48, 32))


CALLS = {
    "a hook on a layer": lambda m: layers_of(m)[1].register_forward_hook(lambda *_: None),
    "gradient checkpointing": lambda m: m.gradient_checkpointing_enable(),
    "one layer in evaluation": lambda m: layers_of(m)[0].eval(),
    "an adapter in a layer": put_adapter,
}
DROPPING = {"bert": {"hidden_dropout_prob": 0.1}, "modernbert": {"attention_dropout": 0.1, "mlp_dropout": 0.2}}


class Adapter(torch.nn.Linear):
    """Stands for what libraries put in the place of linear layers."""


@pytest.mark.parametrize("change", CALLS)
@pytest.mark.parametrize("family", DROPPING)
def test_what_single_layers_are_needed_for_runs_layer_by_layer_and_says_so_once(family, change, caplog):
    _, native = make_pair(family, **DROPPING[family])
    use_native_encoder(native)
    CALLS[change](native)
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        loss = native(**make_batch()).loss
        loss.backward()
    assert caplog.text.count(MESSAGE) == 1 and torch.isfinite(loss)


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("bert", {"hidden_act": "relu"}, "not GELU"),
        ("bert", {"hidden_act": "gelu_new"}, "not GELU"),
        ("bert", {"hidden_size": 30, "num_attention_heads": 10}, "odd"),
        ("modernbert", {"hidden_activation": "silu"}, "not GELU"),
        ("modernbert", {"intermediate_size": 47}, "odd"),
    ],
)
def test_what_the_kernels_do_not_compute_is_left_alone(family, changes, reason):
    _, native = make_pair(family, **changes)
    assert reason in use_native_encoder(native)
    assert not is_native(native)


def test_other_families_are_left_alone():
    model = AutoModelForMaskedLM.from_config(DebertaConfig(**SIZES, **WIDE, **QUIET))
    assert "Deberta" in use_native_encoder(model)


def test_positions_that_the_caller_counts_are_turned_by():
    """Rotary positions are relative: a shift of all changes nothing, a stretch does, as in the plain model."""
    plain, native = make_pair("modernbert")
    assert use_native_encoder(native) is None
    ids = torch.arange(60)[None].expand(len(LENGTHS), -1)
    real = make_batch()["attention_mask"].bool()
    with torch.no_grad():
        without = call(native).logits[real]
        for positions, same in ((ids + 7, True), (ids * 3, False)):
            expected, found = call(plain, position_ids=positions).logits[real], call(native, position_ids=positions)
            torch.testing.assert_close(found.logits[real], expected, rtol=1e-4, atol=1e-5)
            assert torch.allclose(found.logits[real], without, rtol=1e-4, atol=1e-5) is same


def test_a_packed_call_with_embeddings_in_the_place_of_ids():
    plain, native = make_pair("modernbert")
    assert use_native_encoder(native) is None
    batch = make_batch()
    mask, given = batch["attention_mask"], torch.randn(*batch["input_ids"].shape, 32)
    with torch.no_grad():
        expected, found = (m(inputs_embeds=given, attention_mask=mask).logits[mask.bool()] for m in (plain, native))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_no_compiler_leaves_everything_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", str(tmp_path / "no-such-compiler"))
    building._load_once.cache_clear()
    _, native = make_pair()
    try:
        assert "no-such-compiler" in use_native_encoder(native)
    finally:
        building._load_once.cache_clear()
    assert not is_native(native)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_a_copy_computes_with_its_own_weights_and_the_step_can_be_undone(family):
    _, native = make_pair(family)
    use_native_encoder(native)
    with torch.no_grad():
        before = call(native).logits
        copied = copy.deepcopy(native)
        for parameter in layers_of(copied).parameters():
            parameter.mul_(0.5)
        assert torch.equal(call(native).logits, before)
        assert not torch.allclose(call(copied).logits, before)
        use_plain_encoder(native)
        pad_encoder(native)
        assert not is_native(native)
        real = make_batch()["attention_mask"].bool()
        torch.testing.assert_close(call(native).logits[real], before[real], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", DROPPING)
def test_masks_follow_the_seed(family):
    _, native = make_pair(family, **DROPPING[family])
    use_native_encoder(native)
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(float(native(**make_batch()).loss.detach()))
    assert losses[0] == losses[1] != losses[2]
    native.eval()
    assert float(native(**make_batch()).loss.detach()) == float(native(**make_batch()).loss.detach())
