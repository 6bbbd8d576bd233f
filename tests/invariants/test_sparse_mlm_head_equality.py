"""A head that sees only labelled positions gives the loss, the gradients and the logits of the full head."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForTokenClassification,
    BertForPreTraining,
    CamembertConfig,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    RobertaConfig,
    XLMRobertaConfig,
)
from transformers.models.bert import BertConfig

from finetune.models.sparse_mlm_head import IGNORED, select_labelled, use_full_mlm_head, use_sparse_mlm_head
from finetune.models.unpadding.hooks import unpad_encoder

SIZES = {"vocab_size": 211, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDE = {"intermediate_size": 48, "max_position_embeddings": 64}
QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
MODERN_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
CONFIGS = {
    "bert": BertConfig(**SIZES, **WIDE, **QUIET),
    "roberta": RobertaConfig(**SIZES, **WIDE, **QUIET),
    "xlm-roberta": XLMRobertaConfig(**SIZES, **WIDE, **QUIET),
    "camembert": CamembertConfig(**SIZES, **WIDE, **QUIET),
    "electra": ElectraConfig(**SIZES, **WIDE, **QUIET, embedding_size=16),
    "distilbert": DistilBertConfig(
        vocab_size=211, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=64,
        dropout=0.0, attention_dropout=0.0,
    ),
    "modernbert": ModernBertConfig(**SIZES, **WIDE, **MODERN_IDS),
}  # fmt: skip
LENGTHS = [21, 4, 9, 13]


def make_batch(config) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(5, config.vocab_size, mask.shape, generator=generator)
    ids = torch.where(mask.bool(), ids, config.pad_token_id)
    labelled = (torch.rand(mask.shape, generator=generator) < 0.2) & mask.bool()
    labels = torch.where(labelled, torch.randint(211, mask.shape, generator=generator), IGNORED)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def assert_same_gradients(full, sparse) -> None:
    expected = {name: p.grad for name, p in full.named_parameters() if p.grad is not None}
    found = {name: p.grad for name, p in sparse.named_parameters() if p.grad is not None}
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("unpadded", [False, True])
@pytest.mark.parametrize("family", CONFIGS)
def test_losses_gradients_and_logits_are_equal(family, unpadded):
    torch.manual_seed(0)
    full = AutoModelForMaskedLM.from_config(copy.deepcopy(CONFIGS[family])).train()
    sparse = copy.deepcopy(full)
    assert use_sparse_mlm_head(sparse) is None
    if unpadded:
        assert unpad_encoder(sparse) is None
    batch = make_batch(CONFIGS[family])
    expected, found = full(**batch), sparse(**batch)
    labelled = batch["labels"] != IGNORED
    assert found.logits.shape == (1, 32, 211)
    torch.testing.assert_close(found.loss, expected.loss)
    logits = found.logits[0, : int(labelled.sum())]
    torch.testing.assert_close(logits, expected.logits[labelled], rtol=1e-5, atol=1e-5)
    expected.loss.backward()
    found.loss.backward()
    assert_same_gradients(full, sparse)


def test_pretraining_heads_keep_the_sentence_pair_task():
    torch.manual_seed(0)
    full = BertForPreTraining(copy.deepcopy(CONFIGS["bert"])).train()
    sparse = copy.deepcopy(full)
    use_sparse_mlm_head(sparse)
    unpad_encoder(sparse)
    batch = make_batch(CONFIGS["bert"]) | {"next_sentence_label": torch.tensor([0, 1, 1, 0])}
    expected, found = full(**batch), sparse(**batch)
    torch.testing.assert_close(found.loss, expected.loss)
    torch.testing.assert_close(found.seq_relationship_logits, expected.seq_relationship_logits)
    expected.loss.backward()
    found.loss.backward()
    assert_same_gradients(full, sparse)


def test_positions_chosen_by_the_collator_need_no_labels_in_the_call():
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(copy.deepcopy(CONFIGS["roberta"])).eval()
    batch = make_batch(CONFIGS["roberta"])
    labels = batch.pop("labels")
    with torch.no_grad():
        full = model(**batch).logits
        use_sparse_mlm_head(model)
        assert torch.equal(model(**batch).logits, full)
        positions, selected = select_labelled(labels, round_to=1)
        found = model(**batch, labelled_positions=positions).logits
    assert torch.equal(selected[0], labels[labels != IGNORED])
    torch.testing.assert_close(found[0], full[labels != IGNORED], rtol=1e-5, atol=1e-5)


def test_selection_is_rounded_with_ignored_labels():
    labels = torch.full((3, 50), IGNORED)
    labels[0, 3], labels[2, 49] = 7, 9
    positions, selected = select_labelled(labels, round_to=4)
    assert positions.tolist() == [[3, 149, 0, 0]] and selected.tolist() == [[7, 9, IGNORED, IGNORED]]
    assert select_labelled(torch.full((2, 3), IGNORED), round_to=4)[1].tolist() == [[IGNORED] * 4]
    assert select_labelled(torch.zeros(2, 3, dtype=torch.long), round_to=32)[0].tolist() == [list(range(6))]


def test_other_heads_say_why_and_the_full_head_comes_back():
    tagger = AutoModelForTokenClassification.from_config(copy.deepcopy(CONFIGS["bert"]))
    reason = use_sparse_mlm_head(tagger)
    assert reason is not None and "BertForTokenClassification" in reason
    model = AutoModelForMaskedLM.from_config(copy.deepcopy(CONFIGS["bert"]))
    use_sparse_mlm_head(model)
    use_full_mlm_head(model)
    batch = make_batch(CONFIGS["bert"])
    assert model(**batch).logits.shape == (*batch["labels"].shape, 211)
