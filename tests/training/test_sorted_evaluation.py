"""Evaluation over sorted rows gives what the Trainer's own loop gives, and the very numbers that prediction gives."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, ModernBertConfig

from finetune.arguments.fast_path import FastPathArguments
from finetune.arguments.prediction import PredictArguments
from finetune.classification.losses import SequenceEvaluationLoss, SequenceLoss
from finetune.models.native.serving import is_native
from finetune.models.prediction import predict_logits
from finetune.run.folder import Run
from finetune.training.building import TrainerParts, build_trainer
from finetune.training.collators import ClassificationCollator, TaggingCollator
from finetune.training.fast_prediction import prepare_prediction
from finetune.training.losses import EvaluationLoss, TokenLoss, mean_loss
from finetune.training.unpadded_batches import mark_read
from tests.tiny import bert_config, word_level

ROWS = 70
WORDS = ["<pad>", "<unk>", *(f"w{number}" for number in range(88))]


def make_rows(kind: str) -> Dataset:
    generator = np.random.default_rng(1)
    lengths = generator.integers(2, 70, ROWS)
    ids = [generator.integers(2, 90, length).tolist() for length in lengths]
    labels = [int(generator.integers(5)) if kind == "texts" else generator.integers(0, 5, n).tolist() for n in lengths]
    return Dataset.from_dict({"input_ids": ids, "labels": labels})


def make_model(kind: str, family: str = "bert"):
    torch.manual_seed(0)
    sizes = {"num_labels": 5, "hidden_size": 64, "num_hidden_layers": 3, "initializer_range": 0.3, "pad_token_id": 0}
    if family == "bert":
        config = bert_config(90, **sizes)
    else:
        ends = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 1)
        config = ModernBertConfig(
            vocab_size=90, num_attention_heads=2, intermediate_size=32, local_attention=16, **sizes, **ends
        )
    head = AutoModelForSequenceClassification if kind == "texts" else AutoModelForTokenClassification
    return head.from_config(config).eval()


def keep_logits(evaluation):
    return lambda logits, labels: (logits.float(), evaluation(logits, labels)[1])


def make_trainer(folder, kind: str, bf16: bool, family: str = "bert", **fast_path):
    tokenizer = word_level(WORDS, unk_token="<unk>", pad_token="<pad>")
    loss = SequenceLoss("single_label_classification") if kind == "texts" else TokenLoss()
    evaluation = SequenceEvaluationLoss(loss) if kind == "texts" else EvaluationLoss(loss)
    collator = (ClassificationCollator if kind == "texts" else TaggingCollator).for_tokenizer(tokenizer)
    parts = TrainerParts(
        model=make_model(kind, family), tokenizer=tokenizer, collator=collator, loss=loss, train=make_rows(kind),
        validation=make_rows(kind), evaluation=keep_logits(evaluation),
        compute_metrics=lambda found: {"loss": mean_loss(found.predictions[1], found.label_ids)},
    )  # fmt: skip
    values = {"output_dir": str(folder), "use_cpu": True, "bf16": bf16, "max_steps": 1, "save_strategy": "no"}
    return build_trainer(
        parts, values | {"per_device_train_batch_size": 4}, Run(), fast_path=FastPathArguments(**fast_path)
    )


@pytest.mark.parametrize("kind", ["words", "texts"])
@pytest.mark.parametrize("fast_path", [{}, {"no_native": True}, {"no_unpad": True}], ids=str)
def test_the_numbers_are_those_of_the_trainers_own_loop(tmp_path, kind, fast_path, caplog):
    caplog.set_level(logging.INFO)
    trainer = make_trainer(tmp_path, kind, False, **fast_path)
    found, metrics = trainer.predict(trainer.eval_dataset), trainer.evaluate()
    assert "in 3 batches of similar length" in caplog.text or "in 2 batches" in caplog.text
    trainer.sorts_evaluation = False
    plain, plain_metrics = trainer.predict(trainer.eval_dataset), trainer.evaluate()
    assert metrics["eval_loss"] == pytest.approx(plain_metrics["eval_loss"], rel=1e-5)
    labelled = plain.label_ids != -100
    np.testing.assert_array_equal(found.label_ids, plain.label_ids)
    for own, expected in zip(found.predictions, plain.predictions, strict=True):
        real = labelled if own.shape[:2] == labelled.shape else slice(None)
        np.testing.assert_allclose(own[real], expected[real], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["words", "texts"])
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_the_numbers_are_those_of_prediction_whatever_shares_a_batch(tmp_path, family, kind, bf16):
    """Bit for bit: what a command of training writes and what predict.py says of the same rows cannot differ."""
    trainer = make_trainer(tmp_path, kind, bf16, family)
    trainer.train()
    if not is_native(trainer.model):
        pytest.skip("no native step here")
    found = trainer.predict(trainer.eval_dataset).predictions[0]
    model = make_model(kind, family)
    model.load_state_dict(trainer.model.state_dict())
    short = prepare_prediction(model, PredictArguments(bf16=bf16))
    rows = list(make_rows(kind))
    collate = mark_read(model, trainer.data_collator)
    for batch_size, chosen in ((32, rows), (3, rows[:25]), (1, rows[:1])):
        logits = predict_logits(model, chosen, collate, batch_size=batch_size, bf16=short)
        for row, own, expected in zip(chosen, logits, found, strict=False):
            size = len(row["input_ids"]) if kind == "words" else len(own)
            np.testing.assert_array_equal(own[:size], expected[:size])


def test_training_goes_on_as_if_nothing_had_been_evaluated(tmp_path):
    """The autocast of accelerate, gradients and heads are there again after an evaluation."""
    trainer = make_trainer(tmp_path / "a", "words", True)
    forward = trainer.model.__dict__.get("forward")
    trainer.evaluate()
    assert trainer.model.__dict__.get("forward") is forward
    assert "forward" not in trainer.model.classifier.__dict__
    assert trainer.train().training_loss == make_trainer(tmp_path / "b", "words", True).train().training_loss


def test_what_cannot_be_sorted_is_said_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    trainer = make_trainer(tmp_path, "words", False)
    trainer.compute_metrics = None
    for _ in range(2):
        assert trainer.evaluate()["eval_loss"] > 0
    assert caplog.text.count("evaluated in the Trainer's own loop, unsorted: nothing but the loss is asked for") == 1
    plain = make_trainer(tmp_path, "words", False, no_fast_path=True)
    assert not plain.sorts_evaluation
