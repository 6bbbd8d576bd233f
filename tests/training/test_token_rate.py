"""Tokens a second: real ones only, over the time of the steps."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import torch
from transformers import BertConfig, BertForMaskedLM

from finetune.training import token_rate
from finetune.training.model_flops import ModelFlops
from finetune.training.token_rate import TokenRate

SIZES = {
    "vocab_size": 100,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 8,
}


def test_padding_and_the_time_of_evaluation_do_not_count(monkeypatch):
    monkeypatch.setattr(token_rate.time, "perf_counter", itertools.count(0, 10).__next__)
    rate, state = TokenRate(), SimpleNamespace()
    rate.on_train_begin(None, state, None)
    rate.count({"input_ids": torch.ones(2, 4), "attention_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])})
    rate.on_step_end(None, state, None)  # 10 seconds
    rate.on_evaluate(None, state, None)  # 10 more, that do not count
    rate.count({"input_ids": torch.ones(3, 5)})
    rate.on_step_end(None, state, None)
    logs = {"loss": 1.0}
    rate.on_log(None, state, None, logs=logs)
    assert logs["tokens_per_second"] == 1.0 and rate.overall == {"tokens_per_second": 1.0}
    rate.on_log(None, state, None, logs=logs | {"eval_loss": 2.0})
    assert rate.overall == {"tokens_per_second": 1.0}


def test_nothing_is_said_where_nothing_was_trained():
    logs = {"eval_loss": 1.0}
    rate = TokenRate()
    rate.on_log(None, None, None, logs=logs)
    assert logs == {"eval_loss": 1.0} and rate.overall == {}


def test_the_share_is_of_operations_that_the_model_needs(monkeypatch):
    monkeypatch.setattr(token_rate.time, "perf_counter", itertools.count(0, 10).__next__)
    monkeypatch.setattr(token_rate, "matrix_rate", lambda device, dtype: 1e6 if dtype is torch.bfloat16 else 0.0)
    model = BertForMaskedLM(BertConfig(**SIZES))
    model.bert.encoder.layer[0].output.dense.requires_grad_(False)
    body = (
        2 * (4 * 16 * 17 + 16 * 33 + 32 * 17 + 4 * 16) + 2 * 16 + 16 * 17 + 2 * 16
    )  # layers, first norm, the head's layer and norm
    frozen, vocabulary = 32 * 16 + 16, 100 * 16 + 100
    inputs = {
        "input_ids": torch.ones(2, 4, dtype=torch.long),
        "attention_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]),
        "labels": torch.tensor([[-100, 5, -100, -100], [6, 7, -100, -100]]),
    }
    expected = 5 * (6 * body - 4 * frozen) + 3 * 6 * vocabulary + 12 * 2 * 16 * (9 + 4)
    rate = TokenRate(model)
    arguments = SimpleNamespace(bf16=True, fp16=False, device=torch.device("cpu"))
    rate.on_train_begin(arguments, SimpleNamespace(is_world_process_zero=True), None)
    rate.count(inputs)
    rate.on_step_end(None, None, None)
    assert rate.overall == {"tokens_per_second": 0.5, "mfu": round(expected / 10 / 1e6, 4)}
    assert expected / 10 / 1e6 > 1e-4
    del inputs["attention_mask"]
    assert ModelFlops.of(model).count(inputs) == 8 * (6 * body - 4 * frozen) + 18 * vocabulary + 384 * 32
    assert ModelFlops.of(torch.nn.Linear(2, 2)) is None
