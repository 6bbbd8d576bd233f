"""Callbacks at named points, and those that switch a model between encoder and decoder."""

from __future__ import annotations

import pytest
import torch
from transformers import BertForMaskedLM

from finetune.lm_experiments.hooks import Hooks
from finetune.lm_experiments.mode_switching import (
    SetDecoderModeCallback,
    SetEncoderModeCallback,
    SwitchEncoderDecoderModesCallback,
    SwitchEncoderDecoderModesToOppositeOfWhenLastCalledCallback,
)
from finetune.lm_experiments.preprocessing import identity_if_decoder_mask_if_encoder, mask_random_tokens
from tests.tiny import bert_config


@pytest.fixture
def model():
    torch.manual_seed(0)
    return BertForMaskedLM(bert_config(20, hidden_size=8, intermediate_size=8)).eval()


def test_hooks_are_called_in_order_with_epoch_and_batch():
    seen = []
    hooks = Hooks({"begin_epoch": [lambda *at: seen.append(("a", *at)), lambda *at: seen.append(("b", *at))]})
    hooks.move(2, 5)
    hooks.call("begin_epoch")
    hooks.call("end_epoch")
    assert seen == [("a", 2, 5), ("b", 2, 5)]


def sees_later_tokens(model) -> bool:
    """Whether another last token changes what is predicted at the first place."""
    with torch.no_grad():
        first = model(torch.tensor([[5, 6, 7]])).logits[0, 0]
        return not torch.allclose(first, model(torch.tensor([[5, 6, 8]])).logits[0, 0], atol=1e-6)


def test_a_decoder_sees_the_left_only(model):
    assert sees_later_tokens(model)
    SetDecoderModeCallback(model, None)(1, 1)
    assert model.config.is_decoder and not sees_later_tokens(model)
    SetEncoderModeCallback(model, None)(1, 1)
    assert not model.config.is_decoder and sees_later_tokens(model)


def test_switching_by_turns(model):
    switch, own = (
        SwitchEncoderDecoderModesCallback(model, None),
        SwitchEncoderDecoderModesToOppositeOfWhenLastCalledCallback(model, None),
    )
    modes = []
    for callback in (switch, switch, own, switch, own, own):
        callback(1, 1)
        modes.append(model.config.is_decoder)
    assert modes == [True, False, True, False, False, True]


def test_preprocessing_follows_the_mode(model, tiny_bert):
    from transformers import AutoTokenizer

    from finetune.lm_experiments.batches import Recipe

    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    rows = [{"input_ids": tokenizer("a man sleeps here")["input_ids"]}]
    kwargs = {"mask_fn": mask_random_tokens, "mask_prop": 0.5}
    recipe = Recipe(tokenizer, "mlm", function=identity_if_decoder_mask_if_encoder, kwargs=kwargs, model=model)
    hidden = lambda: int((recipe.prepare(rows, [0])[0]["labels"] == -100).sum())  # noqa: E731
    assert hidden() == 4  # two of four words, and both special tokens
    SetDecoderModeCallback(model, None)(1, 1)
    assert hidden() == 0
