from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertForPreTraining

from finetune.models.sparse_mlm_head import use_sparse_mlm_head
from finetune.pregeneration.collators import PretrainingCollator
from finetune.pregeneration.losses import PretrainingLoss, count_items, epoch_mean, logged_losses, window_means
from tests import tiny

SIZE = 50


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return BertForPreTraining(tiny.bert_config(SIZE)).eval()


def features(lengths=(9, 14, 11, 20)):
    rng = np.random.default_rng(0)
    rows = []
    for length in lengths:
        labels = np.full(length, -100)
        positions = rng.choice(np.arange(1, length - 1), size=3, replace=False)
        labels[positions] = rng.integers(5, SIZE, size=3)
        rows.append(
            {
                "input_ids": rng.integers(5, SIZE, size=length),
                "token_type_ids": (np.arange(length) > length // 2).astype(int),
                "labels": labels,
                "next_sentence_label": int(rng.integers(2)),
            }
        )
    return rows


def run_loss(model, batch, loss, counts=None):
    batch = dict(batch)
    labels = batch.pop("labels")
    return loss(model(**batch), labels, counts)


def test_loss_is_that_of_the_model_itself(model):
    batch = PretrainingCollator(pad_token_id=0)(features())
    labels = batch["labels"]
    inputs = {name: values for name, values in batch.items() if name != "labels"}
    expected = model(**inputs, labels=labels[:, 1:].contiguous(), next_sentence_label=labels[:, 0]).loss
    assert torch.allclose(run_loss(model, batch, PretrainingLoss()), expected)


def test_sparse_head_gives_the_same_loss(model):
    rows = features()
    expected = run_loss(model, PretrainingCollator(pad_token_id=0)(rows), PretrainingLoss())
    torch.manual_seed(0)
    sparse_model = BertForPreTraining(model.config).eval()
    sparse_model.load_state_dict(model.state_dict())
    assert use_sparse_mlm_head(sparse_model) is None
    batch = PretrainingCollator(pad_token_id=0, sparse=True)(rows)
    assert torch.allclose(run_loss(sparse_model, batch, PretrainingLoss(gathered=True)), expected, atol=1e-6)


def test_micro_batches_add_up_to_both_global_means(model):
    rows = features()
    collate = PretrainingCollator(pad_token_id=0)
    whole = collate(rows)
    counts = count_items(whole["labels"])
    assert counts.tolist() == [12, 4]
    parts = [collate(rows[:1]), collate(rows[1:])]
    assert sum(count_items(part["labels"]) for part in parts).tolist() == [12, 4]
    total = sum(run_loss(model, part, PretrainingLoss(), counts) for part in parts)
    assert torch.allclose(total, run_loss(model, whole, PretrainingLoss()), atol=1e-6)


def test_batch_has_the_next_sentence_label_in_front():
    rows = features((6, 8))
    batch = PretrainingCollator(pad_token_id=7, has_segments=False)(rows)
    assert sorted(batch) == ["attention_mask", "input_ids", "labels"]
    assert batch["labels"].shape == (2, 9)
    assert batch["labels"][:, 0].tolist() == [row["next_sentence_label"] for row in rows]
    assert batch["labels"][0, 1:7].tolist() == rows[0]["labels"].tolist()
    assert batch["input_ids"][0, 6:].tolist() == [7, 7] and (batch["labels"][0, 7:] == -100).all()


HISTORY = [
    {"loss": 4.0, "step": 50, "epoch": 0.5},
    {"eval_loss": 1.0, "step": 50, "epoch": 0.5},
    {"loss": 2.0, "step": 100, "epoch": 1.0},
    {"loss": 1.0, "step": 150, "epoch": 1.5},
    {"loss": 0.5, "step": 200, "epoch": 2.0},
]


def test_losses_of_files_come_from_the_history():
    assert logged_losses(HISTORY) == [(50, 4.0), (100, 2.0), (150, 1.0), (200, 0.5)]
    assert window_means(logged_losses(HISTORY), 100) == [3.0, 0.75]
    assert window_means(logged_losses(HISTORY), 20000) == []
    assert window_means(logged_losses(HISTORY), 150) == [pytest.approx(7 / 3)]
    assert window_means(logged_losses(HISTORY), 150, to_the_end=True) == [pytest.approx(7 / 3), 0.5]
    assert window_means(logged_losses(HISTORY), 20000, to_the_end=True) == [1.875]
    assert window_means([(40, 3.0), (80, 1.0), (90, 5.0)], 60, to_the_end=True) == [2.0, 5.0]
    assert epoch_mean(HISTORY) == 0.75 and epoch_mean(HISTORY[:3]) == 3.0
