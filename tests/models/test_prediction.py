"""Logits of rows do not depend on which rows share a batch."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertForTokenClassification

from finetune.arguments.prediction import PredictArguments
from finetune.models.native.serving import is_native
from finetune.models.prediction import TOKENS_AT_ONCE, group_by_length, predict_logits
from finetune.training.collators import TaggingCollator
from finetune.training.fast_prediction import prepare_prediction
from tests.tiny import bert_config

ROWS = 60


@given(lengths=st.lists(st.integers(0, 700), max_size=80), batch_size=st.integers(1, 40))
def test_every_row_is_in_one_batch_and_batches_are_as_large_as_asked(lengths, batch_size):
    batches = list(group_by_length(lengths, batch_size=batch_size, tokens=2048))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    order = [lengths[index] for batch in batches for index in batch]
    assert order == sorted(lengths, reverse=True)
    for batch in batches:
        assert len(batch) <= batch_size or len(batch) * lengths[batch[0]] <= 2048
    assert all(len(batch) >= batch_size for batch in batches[:-1])


def make_tagger() -> BertForTokenClassification:
    torch.manual_seed(0)
    config = bert_config(90, num_labels=5, hidden_size=64, num_hidden_layers=3, initializer_range=0.3)
    return BertForTokenClassification(config).eval()


def make_rows() -> list[dict]:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 130, ROWS)
    return [{"input_ids": generator.integers(1, 90, n).tolist(), "labels": [0] * int(n)} for n in lengths]


def predict(rows: list[dict], batch_size: int, **options) -> list[np.ndarray]:
    """Logits at the real tokens of each row."""
    model = make_tagger()
    arguments = PredictArguments(**options)
    bf16 = prepare_prediction(model, arguments)
    assert is_native(model) or options.get("no_native") or "AVX512" in str(torch.__config__.show())
    logits = predict_logits(model, rows, TaggingCollator(pad_token_id=0), batch_size=batch_size, bf16=bf16)
    return [row[: len(given["input_ids"])] for row, given in zip(logits, rows, strict=True)]


@pytest.mark.parametrize("options", [{}, {"bf16": False}, {"bf16": False, "no_native": True}], ids=str)
def test_logits_do_not_depend_on_the_batch(options, caplog):
    caplog.set_level(logging.INFO)
    rows = make_rows()
    together = predict(rows, 32, **options)
    assert ("Encoder: native step" in caplog.text) != options.get("no_native", False) or "no native" in caplog.text
    alone = [predict([row], 1, **options)[0] for row in rows[:12]]
    shuffled = predict(rows[::-1], 5, **options)[::-1]
    for other in (alone, shuffled):
        for one, row in zip(other, together, strict=False):
            if "Encoder: native step" in caplog.text:
                np.testing.assert_array_equal(one, row)
            np.testing.assert_allclose(one, row, rtol=1e-4, atol=1e-5)
            assert (one.argmax(-1) == row.argmax(-1)).all()


def test_the_native_step_predicts_what_torch_predicts():
    rows = make_rows()
    expected = predict(rows, 8, bf16=False, no_native=True)
    for one, row in zip(predict(rows, 8, bf16=False), expected, strict=True):
        np.testing.assert_allclose(one, row, rtol=1e-4, atol=1e-5)
    short = np.concatenate(predict(rows, 8))
    assert np.abs(short - np.concatenate(expected)).mean() < 0.02 * np.abs(np.concatenate(expected)).mean()


def test_short_rows_come_more_at_once():
    assert next(group_by_length([8] * 1000, batch_size=32, tokens=TOKENS_AT_ONCE)) == list(range(256))
