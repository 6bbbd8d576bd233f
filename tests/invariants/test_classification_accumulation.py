"""However a batch of texts is cut into micro-batches, loss and gradient norm are the same, for all kinds of labels."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, BertForSequenceClassification, Trainer

from finetune.classification.losses import SequenceLoss
from finetune.run.folder import Run
from finetune.training.building import TrainerParts, build_trainer, train
from finetune.training.collators import ClassificationCollator
from tests import tiny

EXAMPLES = 20  # the last batch of eight is ragged
LABELS = 3
KINDS = ("single_label_classification", "multi_label_classification", "regression")


def make_examples(kind: str) -> Dataset:
    generator = torch.Generator().manual_seed(3)
    rows = []
    for number in range(EXAMPLES):
        ids = torch.randint(1000, 2000, (3 + (number * 7) % 23,), generator=generator).tolist()
        labels = {
            KINDS[0]: number % LABELS,
            KINDS[1]: [float((number + column) % 2) for column in range(LABELS)],
            KINDS[2]: number / 7,
        }
        rows.append({"input_ids": [101, *ids, 102], "labels": labels[kind]})
    return Dataset.from_list(rows)


def make_model(kind: str) -> BertForSequenceClassification:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = tiny.bert_config(
        2100, **shape, **still, num_labels=1 if kind == "regression" else LABELS, problem_type=kind
    )
    return BertForSequenceClassification(config)


def run_training(kind: str, tokenizer, folder, batch: int, accumulation: int) -> Trainer:
    values = {
        "output_dir": str(folder),
        "do_train": True,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": 2,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "seed": 5,
    }
    weights = None if kind == "regression" else [1.0, 2.0, 0.5]
    loss = SequenceLoss(kind, weights, label_smoothing=0.0 if kind == "regression" else 0.1)
    collator = ClassificationCollator(pad_token_id=tokenizer.pad_token_id)
    parts = TrainerParts(make_model(kind), tokenizer, collator, loss, train=make_examples(kind))
    run = Run()
    trainer = build_trainer(parts, values, run)
    train(trainer, run)
    return trainer


@pytest.mark.parametrize("kind", KINDS)
def test_8x1_4x2_and_2x4_agree(kind, tiny_bert, tmp_path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    runs = [run_training(kind, tokenizer, tmp_path / str(n), 8 // n, n) for n in (1, 2, 4)]
    for key in ("loss", "grad_norm"):
        first, *others = [[entry[key] for entry in one.state.log_history if key in entry] for one in runs]
        assert len(first) == 6
        for other in others:
            assert other == pytest.approx(first, rel=3e-4), key
