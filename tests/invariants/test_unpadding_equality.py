"""Unpadded encoders give the losses and gradients of padded ones, for every family and head, at 40 % padding."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    CamembertConfig,
    DebertaConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    PretrainedConfig,
    RobertaConfig,
    XLMRobertaConfig,
)
from transformers.models.bert import BertConfig

from finetune.models.sparse_mlm_head import select_labelled
from finetune.models.unpadding.hooks import is_unpadded, pad_encoder, unpad_encoder

SIZES = {"vocab_size": 101, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_labels": 5}
WIDE = {"intermediate_size": 48, "max_position_embeddings": 64}
QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
MODERN_QUIET = {"attention_dropout": 0.0, "mlp_dropout": 0.0, "embedding_dropout": 0.0, "classifier_dropout": 0.0}
MODERN_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
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
    "deberta": DebertaConfig(**SIZES, **WIDE, **QUIET, **RELATIVE),
    "deberta-short-reach": DebertaConfig(**SIZES, **WIDE, **QUIET, **RELATIVE | {"max_relative_positions": 9}),
    "deberta-v2": DebertaV2Config(**SIZES, **WIDE, **QUIET, **RELATIVE),
    "deberta-v3": DebertaV2Config(
        **SIZES, **WIDE, **QUIET, **RELATIVE, position_buckets=8, norm_rel_ebd="layer_norm", share_att_key=True
    ),
    "deberta-v2-positions": DebertaV2Config(**SIZES, **WIDE, **QUIET, type_vocab_size=2),
    "modernbert": ModernBertConfig(**SIZES, **WIDE, **MODERN_QUIET, **MODERN_IDS, local_attention=8),
}  # fmt: skip
HEADS = [AutoModelForTokenClassification, AutoModelForSequenceClassification, AutoModelForMaskedLM]
LENGTHS = [23, 5, 9, 2, 14, 3, 11, 7]  # 60 % of 8 x 23 positions are padding


def make_batch(config: PretrainedConfig, head: type) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    shape = (len(LENGTHS), max(LENGTHS))
    mask = (torch.arange(shape[1]) < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(5, config.vocab_size, shape, generator=generator)
    ids = torch.where(mask.bool(), ids, config.pad_token_id)
    batch = {"input_ids": ids, "attention_mask": mask}
    if head is AutoModelForSequenceClassification:
        batch["labels"] = torch.randint(config.num_labels, shape[:1], generator=generator)
    elif head is not AutoModel:
        classes = config.vocab_size if head is AutoModelForMaskedLM else config.num_labels
        labels = torch.randint(classes, shape, generator=generator)
        batch["labels"] = torch.where(mask.bool(), labels, -100)
    assert 1 - mask.float().mean() >= 0.4
    return batch


def make_pair(family: str, head: type, **options) -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    plain = head.from_config(copy.deepcopy(CONFIGS[family])).train()
    unpadded = copy.deepcopy(plain)
    assert unpad_encoder(unpadded, **options) is None
    return plain, unpadded


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(plain: torch.nn.Module, unpadded: torch.nn.Module) -> None:
    expected, found = gradients(plain), gradients(unpadded)
    assert expected.keys() == found.keys() and len(expected) > 20
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=2e-6, msg=lambda m, name=name: f"{name}: {m}")


def first_layer(model: torch.nn.Module) -> torch.nn.Module:
    return next(m for n, m in model.named_modules() if n.endswith((".layer.0", ".layers.0", "layer.0", "layers.0")))


@pytest.mark.parametrize("rounding", [1, 64])
@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.__name__)
@pytest.mark.parametrize("family", CONFIGS)
def test_losses_and_gradients_of_training_are_equal(family, head, rounding):
    plain, unpadded = make_pair(family, head, round_tokens_to=rounding)
    batch = make_batch(CONFIGS[family], head)
    rows, layouts = [], []

    def look(module, args, kwargs):
        rows.append(args[0].shape)
        layouts.append(kwargs.get("token_layout") or kwargs["relative_pos"])

    first_layer(unpadded).register_forward_pre_hook(look, with_kwargs=True)
    expected, found = plain(**batch), unpadded(**batch)
    tokens = int(batch["attention_mask"].sum())
    assert layouts[0].tokens == tokens == sum(LENGTHS)
    assert rows[0][:2] == (1, tokens if rounding == 1 else 128)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-6, atol=1e-6)
    real = batch["attention_mask"].bool() if found.logits.ndim == 3 else ...
    torch.testing.assert_close(found.logits[real], expected.logits[real], rtol=1e-5, atol=1e-5)
    expected.loss.backward()
    found.loss.backward()
    assert_same_gradients(plain, unpadded)


def last_layer(model: torch.nn.Module) -> torch.nn.Module:
    return [m for n, m in model.named_modules() if n.endswith(("layer.2", "layers.2"))][-1]


@pytest.mark.parametrize(
    "family", [family for family in CONFIGS if "deberta" not in family]
)  # its heads hand nothing on
def test_the_last_layer_computes_only_what_is_read(family):
    plain, unpadded = make_pair(family, AutoModelForTokenClassification)
    batch = make_batch(CONFIGS[family], AutoModelForTokenClassification)
    read = torch.rand(batch["labels"].shape, generator=torch.Generator().manual_seed(5)) < 0.3
    read[0, 0] = True  # the position that also fills up the selection
    batch["labels"] = batch["labels"].masked_fill(~read, -100)
    labelled = batch["labels"] != -100
    positions, _ = select_labelled(batch["labels"])
    rows = []
    last = last_layer(unpadded)
    last.register_forward_hook(lambda module, args, output: rows.append(output.shape[1]))
    expected, found = plain(**batch), unpadded(**batch, read_positions=positions)
    assert rows == [32] and 20 <= int(labelled.sum()) < 32 < sum(LENGTHS)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.logits[labelled], expected.logits[labelled], rtol=1e-5, atol=1e-5)
    expected.loss.backward()
    found.loss.backward()
    assert_same_gradients(plain, unpadded)
    pad_encoder(unpadded)
    torch.testing.assert_close(unpadded(**batch).logits, expected.logits)
    assert "forward" not in vars(last)


@pytest.mark.parametrize("family", CONFIGS)
def test_classifiers_compute_one_token_a_text_in_the_last_layer(family):
    plain, unpadded = make_pair(family, AutoModelForSequenceClassification)
    rows = []
    own = lambda output: output[0] if isinstance(output, tuple) else output  # noqa: E731
    last_layer(unpadded).register_forward_hook(lambda module, args, output: rows.append(own(output).shape[1]))
    batch = make_batch(CONFIGS[family], AutoModelForSequenceClassification)
    unpadded(**batch)
    states = unpadded(**batch, output_hidden_states=True).hidden_states
    assert rows == [len(LENGTHS), 96], "all rows where hidden states are asked for"
    torch.testing.assert_close(states[-1][:, 1], plain(**batch, output_hidden_states=True).hidden_states[-1][:, 1])


def test_a_pooler_still_gets_its_token():
    plain, unpadded = make_pair("bert", AutoModel)
    batch = make_batch(CONFIGS["bert"], AutoModel)
    pooled = unpadded(**batch, read_positions=torch.tensor([[5, 6]])).pooler_output
    torch.testing.assert_close(pooled, plain(**batch).pooler_output, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", CONFIGS)
def test_evaluation_and_hidden_states_are_equal(family):
    plain, unpadded = make_pair(family, AutoModel)
    batch = make_batch(CONFIGS[family], AutoModel)
    with torch.no_grad():
        expected = plain.eval()(**batch, output_hidden_states=True)
        found = unpadded.eval()(**batch, output_hidden_states=True)
    real = batch["attention_mask"].bool()
    assert len(found.hidden_states) == len(expected.hidden_states) == 4
    for ours, theirs in zip(found.hidden_states, expected.hidden_states, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours[real], theirs[real], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.last_hidden_state[real], expected.last_hidden_state[real], rtol=1e-5, atol=1e-5)
    assert not found.last_hidden_state[~real].any()


@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta", "deberta-v2"])
@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_changes_nothing(family, reentrant):
    plain, unpadded = make_pair(family, AutoModelForTokenClassification)
    unpadded.gradient_checkpointing_enable({"use_reentrant": reentrant})
    if reentrant:
        unpadded.enable_input_require_grads()
    batch = make_batch(CONFIGS[family], AutoModelForTokenClassification)
    plain(**batch).loss.backward()
    unpadded(**batch).loss.backward()
    assert_same_gradients(plain, unpadded)


def test_checkpointed_layers_draw_the_same_dropout_again():
    config = BertConfig(**SIZES, **WIDE)  # dropout 0.1
    torch.manual_seed(0)
    plain = AutoModelForTokenClassification.from_config(config).train()
    unpad_encoder(plain)
    checkpointed = copy.deepcopy(plain)
    checkpointed.gradient_checkpointing_enable({"use_reentrant": False})
    batch = make_batch(config, AutoModelForTokenClassification)
    for model in (plain, checkpointed):
        torch.manual_seed(7)
        model(**batch).loss.backward()
    assert_same_gradients(plain, checkpointed)


@pytest.mark.parametrize("family", ["bert", "deberta-v3"])
def test_two_forwards_before_one_backward(family):
    plain, unpadded = make_pair(family, AutoModelForTokenClassification)
    batch = make_batch(CONFIGS[family], AutoModelForTokenClassification)
    shorter = {name: tensor[2:6, :14].contiguous() for name, tensor in batch.items()}
    for model in (plain, unpadded):
        (model(**batch).loss + 2 * model(**shorter).loss).backward()
    assert_same_gradients(plain, unpadded)


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert", "deberta-v3"])
def test_any_two_dimensional_mask_is_served(family):
    plain, unpadded = make_pair(family, AutoModel)
    ids = torch.randint(5, 101, (4, 12))
    left = (torch.arange(12) >= torch.tensor([0, 3, 7, 11])[:, None]).float()
    with torch.no_grad():
        expected, found = (model(ids, left).last_hidden_state for model in (plain, unpadded))
        torch.testing.assert_close(found[left.bool()], expected[left.bool()], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(unpadded(ids)[0], plain(ids)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "deberta-v3"])
def test_an_empty_sentence_neither_fails_nor_spoils_gradients(family):
    plain, unpadded = make_pair(family, AutoModelForTokenClassification)
    batch = make_batch(CONFIGS[family], AutoModelForTokenClassification)
    batch["attention_mask"][3] = 0
    batch["labels"][3] = -100
    plain(**batch).loss.backward()
    unpadded(**batch).loss.backward()
    for name, gradient in gradients(plain).items():
        if "embeddings" not in name:  # the empty sentence's embeddings get gradient 0 here, noise of 1e-9 there
            torch.testing.assert_close(gradients(unpadded)[name], gradient, rtol=1e-4, atol=2e-6)
    assert all(gradient.isfinite().all() for gradient in gradients(unpadded).values())


def test_attention_weights_fall_back_and_say_so_once(caplog):
    plain, unpadded = make_pair("bert", AutoModel)
    plain.set_attn_implementation("eager")
    batch = make_batch(CONFIGS["bert"], AutoModel)
    with caplog.at_level("WARNING"), torch.no_grad():
        found = unpadded.eval()(**batch, output_attentions=True)
        unpadded(**batch, output_attentions=True)
        expected = plain.eval()(**batch, output_attentions=True)
    assert [record.message for record in caplog.records if "padded" in record.message] == [
        "This forward pass runs padded: output_attentions cannot be served from unpadded batches."
    ]
    assert len(found.attentions) == 3
    for ours, theirs in zip(found.attentions, expected.attentions, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_other_masks_and_tuples_fall_back(caplog):
    plain, unpadded = make_pair("bert", AutoModel)
    ids = torch.randint(5, 101, (2, 6))
    causal = torch.ones(2, 1, 6, 6).tril().bool()
    with torch.no_grad():
        torch.testing.assert_close(unpadded(ids, causal)[0], plain(ids, causal)[0], rtol=1e-5, atol=1e-5)
        assert isinstance(unpadded(ids, return_dict=False), tuple)


def test_families_without_a_door_stay_as_they_are():
    config = MPNetConfig(**SIZES, intermediate_size=48)
    model = AutoModelForTokenClassification.from_config(config)
    before = dict(model.config.to_dict())
    reason = unpad_encoder(model)
    assert reason is not None and "MPNetForTokenClassification" in reason
    assert model.config.to_dict() == before and not is_unpadded(model)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (DebertaV2Config(**SIZES, **WIDE, conv_kernel_size=3), "convolution"),
        (DebertaConfig(**SIZES, **WIDE, talking_head=True), "talking_head"),
    ],
)
def test_kinds_of_deberta_that_are_not_served_stay_as_they_are(config, words):
    assert words in str(unpad_encoder(AutoModelForTokenClassification.from_config(config)))


def test_a_deberta_that_is_asked_for_attention_weights_falls_back_and_gives_the_same():
    plain, unpadded = make_pair("deberta-v3", AutoModel)
    batch = make_batch(CONFIGS["deberta-v3"], AutoModel)
    with torch.no_grad():
        found, expected = (model.eval()(**batch, output_attentions=True) for model in (unpadded, plain))
    assert torch.equal(found.last_hidden_state, expected.last_hidden_state) and len(found.attentions) == 3
    pad_encoder(unpadded)
    assert not any("forward" in vars(module) for module in unpadded.modules())


def test_saved_models_are_plain_and_copies_stay_unpadded(tmp_path):
    _, unpadded = make_pair("roberta", AutoModelForTokenClassification)
    unpadded.save_pretrained(tmp_path)
    assert "finetune" not in (tmp_path / "config.json").read_text()
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert loaded.config._attn_implementation == "sdpa" and not is_unpadded(loaded)
    twin = copy.deepcopy(unpadded)
    assert is_unpadded(twin)
    pad_encoder(twin)
    assert not is_unpadded(twin) and is_unpadded(unpadded)
    batch = make_batch(CONFIGS["roberta"], AutoModelForTokenClassification)
    losses = [model.train()(**batch).loss for model in (loaded, unpadded, twin)]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(losses[2], losses[0], rtol=1e-6, atol=1e-6)


def test_compiled_models_give_the_same_gradients():
    plain, unpadded = make_pair("bert", AutoModelForTokenClassification)
    batch = make_batch(CONFIGS["bert"], AutoModelForTokenClassification)
    compiled = torch.compile(unpadded, backend="aot_eager")
    plain(**batch).loss.backward()
    compiled(**batch).loss.backward()
    assert_same_gradients(plain, unpadded)


def test_sequence_lengths_known_on_the_host_must_be_right():
    _, unpadded = make_pair("bert", AutoModelForTokenClassification)
    batch = make_batch(CONFIGS["bert"], AutoModelForTokenClassification)
    loss = unpadded(**batch, sequence_lengths=LENGTHS).loss
    torch.testing.assert_close(loss, unpadded(**batch).loss)
    with pytest.raises(ValueError, match="sequence_lengths"):
        unpadded(**batch, sequence_lengths=LENGTHS[::-1])
