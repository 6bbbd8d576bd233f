"""Which tokens of a batch are scored, and where their logits are, by hand."""

from __future__ import annotations

import numpy as np

from finetune.lm_experiments.scored_batches import read_batch_tokens


def test_causal_rows():
    batch = {
        "input_ids": np.array([[9, 5, 6, 7], [9, 5, 0, 0]]),
        "attention_mask": np.array([[1, 1, 1, 1], [1, 1, 0, 0]]),
        "labels": np.array([[9, 5, -100, 7], [9, 5, -100, -100]]),
    }
    tokens = read_batch_tokens(batch, "lm", start_ids=[9])
    assert tokens.ids.tolist() == [5, 6, 7, 5] and tokens.offsets.tolist() == [0, 3, 4]
    assert tokens.shown.tolist() == [True, False, True, True]
    assert tokens.places.tolist() == [0, 1, 2, 4, 3, 5]  # each from the token before; then the end of each row
    assert tokens.targets.tolist() == [5, -1, 7, 5, -1, -1]
    assert tokens.slots.tolist() == [0, 1, 2, 3, 4, 5] and tokens.slot_count == 6
    bare = read_batch_tokens(batch, "lm")
    assert bare.ids.tolist() == [9, 5, 6, 7, 9, 5] and bare.slots.tolist() == [1, 2, 3, 5, 6, 7]
    assert bare.places.tolist() == tokens.places.tolist()


def test_masked_rows():
    cls, sep, mask = 2, 3, 4
    batch = {
        "input_ids": np.array([[cls, 7, mask, sep, 0], [cls, mask, mask, 8, sep]]),
        "attention_mask": np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]),
        "labels": np.array([[-100, -100, 9, -100, -100], [-100, 5, -100, 6, -100]]),
    }
    tokens = read_batch_tokens(batch, "mlm", mask_id=mask, special_ids=[0, cls, sep, mask])
    assert tokens.ids.tolist() == [7, 9, 5, mask, 6]  # what truly stands there; 8 was drawn in place of 6
    assert tokens.shown.tolist() == [False, True, True, False, False]
    assert tokens.places.tolist() == [2, 6] and tokens.targets.tolist() == [9, 5] and tokens.slots.tolist() == [1, 2]


def test_labels_of_encoder_decoders():
    tokens = read_batch_tokens({"labels": np.array([[5, 1, -100], [6, 7, 1]])}, "seq2seq")
    assert tokens.ids.tolist() == [5, 1, 6, 7, 1] and tokens.offsets.tolist() == [0, 2, 5]
    assert tokens.places.tolist() == [0, 1, 3, 4, 5] and tokens.slots.tolist() == [0, 1, 2, 3, 4]
