"""Tokens a second: real ones only, over the time of the steps."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import torch

from finetune.training import token_rate
from finetune.training.token_rate import TokenRate


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
    assert logs["tokens_per_second"] == 1.0 and rate.overall == 20 / 20
    rate.on_log(None, state, None, logs=logs | {"eval_loss": 2.0})
    assert rate.overall == 1.0


def test_nothing_is_said_where_nothing_was_trained():
    logs = {"eval_loss": 1.0}
    rate = TokenRate()
    rate.on_log(None, None, None, logs=logs)
    assert logs == {"eval_loss": 1.0} and rate.overall is None
