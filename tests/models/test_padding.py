"""One padding token for model and tokenizer, and predictions that do not hang on the batch."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from finetune.models.padding import NEW_TOKEN, resolve_padding
from finetune.models.prediction import group_by_length, predict_logits
from finetune.training.collators import ClassificationCollator
from tests.tiny import word_level
from tests.tiny_families import make_config

WORDS = ["!", *(f"w{number}" for number in range(55)), "<unk>", "<end>"]
DECODERS = ("gpt2", "gpt_neox", "llama", "mistral")
ROWS = [[5, 6, 7, 0, 0, 0], [9], [8, 7, 6, 5, 4, 3, 2, 1, 9, 9], [4, 0]]  # the first and the last end in the id 0


def make_tokenizer(**roles: str):
    return word_level(WORDS, **{"unk_token": "<unk>", "eos_token": "<end>", "padding_side": "left"} | roles)


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("said", [None, 0], ids=["none", "a word"])
def test_a_decoder_reads_each_text_to_its_end_in_any_batch(family, said):
    config, tokenizer = make_config(family, pad_token_id=said), make_tokenizer()
    resolve_padding(config, tokenizer)
    assert config.pad_token_id == tokenizer.pad_token_id == len(WORDS) - 1 and tokenizer.padding_side == "right"
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        expected = [model(input_ids=torch.tensor([row])).logits[0] for row in ROWS]
        states = [model.base_model(input_ids=torch.tensor([row])).last_hidden_state[0, -1] for row in ROWS]
    collate = ClassificationCollator.for_tokenizer(tokenizer)
    for size in (1, 4):
        found = predict_logits(model, [{"input_ids": row} for row in ROWS], collate, batch_size=size)
        torch.testing.assert_close(torch.tensor(found), torch.stack(expected), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.score(torch.stack(states)), torch.stack(expected), rtol=1e-5, atol=1e-6)


def test_a_special_token_that_the_configuration_names_pads():
    config, tokenizer = make_config("llama", pad_token_id=len(WORDS) - 2), make_tokenizer()
    resolve_padding(config, tokenizer)
    assert tokenizer.pad_token == "<unk>" and config.pad_token_id == len(WORDS) - 2


def test_without_any_special_token_one_is_added(caplog):
    config, tokenizer = make_config("gpt2", pad_token_id=None), word_level(WORDS, unk_token="<unk>")
    with caplog.at_level("INFO"):
        resolve_padding(config, tokenizer)
    assert tokenizer.pad_token == NEW_TOKEN and config.pad_token_id == len(WORDS) == len(tokenizer) - 1
    assert NEW_TOKEN in caplog.text


@pytest.mark.parametrize(
    ("family", "side"), [("bert", "right"), ("roberta", "right"), ("xlnet", "left"), ("t5", "left")]
)
def test_padding_on_the_left_stays_where_it_moves_no_position(family, side):
    tokenizer = make_tokenizer(pad_token="<end>")
    resolve_padding(make_config(family), tokenizer)
    assert tokenizer.padding_side == side


def test_families_that_read_padding_are_given_none():
    lengths = [3, 5, 3, 5, 5, 1]
    assert list(group_by_length(lengths, batch_size=2, tokens=1, one_length=True)) == [[1, 3], [4], [0, 2], [5]]
    assert list(group_by_length(lengths, batch_size=1, tokens=99, one_length=True)) == [[1, 3, 4], [0, 2], [5]]
    assert list(group_by_length(lengths, batch_size=4, tokens=1)) == [[1, 3, 4, 0], [2, 5]]
