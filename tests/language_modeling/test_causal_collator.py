from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertLMHeadModel, LlamaConfig, LlamaForCausalLM

from finetune.encoding.blocks import DOCUMENT_START
from finetune.errors import DataError
from finetune.language_modeling.collators import CausalCollator, positions_within
from finetune.language_modeling.losses import NextTokenLoss
from finetune.language_modeling.task import require_documents_apart
from tests import tiny

FEATURES = [
    {"input_ids": np.arange(10, 18), "flags": np.array([2, 0, 0, 2, 0, 2, 0, 0], np.uint8)},
    {"input_ids": np.arange(30, 35), "flags": np.array([0, 0, 2, 0, 0], np.uint8)},
]


def test_labels_are_the_ids_and_padding_is_ignored():
    batch = CausalCollator(pad_token_id=0)(FEATURES)
    assert sorted(batch) == ["attention_mask", "input_ids", "labels"]
    assert batch["labels"][0].tolist() == list(range(10, 18))
    assert batch["labels"][1].tolist() == [30, 31, 32, 33, 34, -100, -100, -100]
    assert batch["attention_mask"].sum(1).tolist() == [8, 5]
    assert CausalCollator(pad_token_id=0, pad_to_multiple_of=16)(FEATURES)["input_ids"].shape == (2, 16)


def test_documents_begin_anew_and_their_first_token_is_not_predicted():
    batch = CausalCollator(pad_token_id=0, apart=True)(FEATURES)
    assert sorted(batch) == ["input_ids", "labels", "position_ids"]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 1, 2], [0, 1, 0, 1, 2, 0, 0, 0]]
    assert batch["labels"][0].tolist() == [-100, 11, 12, -100, 14, -100, 16, 17]
    assert batch["labels"][1].tolist() == [30, 31, -100, 33, 34, -100, -100, -100]
    assert positions_within(np.array([[False, True, False]])).tolist() == [[0, 0, 1]]


def gpt2():
    return tiny.gpt2(60, n_layer=2)


def llama():
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=60,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            pad_token_id=0,
        )
    )


@pytest.mark.parametrize("make", [gpt2, llama])
def test_packed_documents_give_the_losses_of_documents_alone(make):
    torch.manual_seed(0)
    model = make().eval()
    require_documents_apart(model)
    batch = CausalCollator(pad_token_id=0, apart=True)(FEATURES)
    labels = batch.pop("labels")
    with torch.no_grad():
        losses = NextTokenLoss().per_position(model(**batch, use_cache=False).logits, labels)
        packed = losses.sum()
        alone = torch.zeros(())
        for feature in FEATURES:
            starts = [0, *np.flatnonzero(feature["flags"] & DOCUMENT_START).tolist(), len(feature["input_ids"])]
            for start, end in pairwise(starts):
                if end - start > 1:
                    ids = torch.tensor(feature["input_ids"][None, start:end])
                    alone += NextTokenLoss().per_position(model(input_ids=ids).logits, ids).sum()
    assert torch.allclose(packed, alone, atol=1e-4)


def test_architecture_that_sees_across_documents_is_refused():
    model = BertLMHeadModel(BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2))
    with pytest.raises(DataError, match="BertLMHeadModel cannot keep the documents"):
        require_documents_apart(model)
