from __future__ import annotations

import numpy as np
import pytest
import torch

from finetune.encoding.masking import Masker
from finetune.language_modeling.collators import MaskingCollator

IS_SPECIAL = np.zeros(100, dtype=bool)
IS_SPECIAL[:5] = True


def features(lengths, whole=False):
    rows = []
    for index, length in enumerate(lengths):
        row = {"input_ids": np.arange(10, 10 + length), "draw": index}
        rows.append(row | ({"flags": np.arange(length) % 2} if whole else {}))
    return rows


def collator(**options) -> MaskingCollator:
    return MaskingCollator(Masker(4, IS_SPECIAL, 0.5, options.pop("whole_words", False)), pad_token_id=1, **options)


@pytest.mark.parametrize(
    ("options", "width"), [({}, 7), ({"pad_to_multiple_of": 8}, 8), ({"max_length": 12}, 12), ({"max_length": 4}, 7)]
)
def test_batch_has_the_width_that_was_asked_for(options, width):
    batch = collator(**options)(features([3, 7]))
    assert list(batch) == ["input_ids", "attention_mask", "labels"]
    assert all(values.shape == (2, width) and values.dtype == torch.int64 for values in batch.values())
    assert batch["attention_mask"].sum(1).tolist() == [3, 7]
    padding = batch["attention_mask"] == 0
    assert (batch["input_ids"][padding] == 1).all() and (batch["labels"][padding] == -100).all()


def test_left_padding():
    batch = collator(padding_side="left")(features([3, 7]))
    assert batch["attention_mask"][0].tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_inputs_and_labels_agree_and_masks_follow_the_draws():
    rows = features([30] * 40)
    batch = collator()(rows)
    predicted = batch["labels"] != -100
    assert 0.4 < predicted.float().mean() < 0.6
    originals = torch.tensor(np.stack([row["input_ids"] for row in rows]))
    assert torch.equal(batch["labels"][predicted], originals[predicted])
    assert torch.equal(batch["input_ids"][~predicted], originals[~predicted])
    backwards = collator()(rows[::-1])
    assert torch.equal(backwards["labels"].flip(0), batch["labels"])


def test_whole_words_are_read_from_the_flags():
    predicted = collator(whole_words=True)(features([30] * 40, whole=True))["labels"] != -100
    pairs = predicted[:, 1:29].reshape(40, 14, 2)  # flags 0 1 0 1 ...: a word begins at every odd place
    assert torch.equal(pairs[..., 0], pairs[..., 1]) and pairs.any() and not pairs.all()
