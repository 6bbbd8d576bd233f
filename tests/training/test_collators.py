from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertTokenizer, DataCollatorForTokenClassification

from finetune.encoding.padding import IGNORED
from finetune.training.collators import TaggingCollator

VOCAB = {word: index for index, word in enumerate(["[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "[PAD]"])}
rows = st.lists(
    st.lists(st.tuples(st.integers(0, 6), st.integers(-100, 5)), min_size=1, max_size=20), min_size=1, max_size=6
)


def features_of(batch):
    return [
        {
            "input_ids": [index for index, _ in row],
            "token_type_ids": [index % 2 for index, _ in row],
            "labels": [label for _, label in row],
            "word_positions": list(range(len(row))),
            "sentence": number,
        }
        for number, row in enumerate(batch)
    ]


@given(rows, st.sampled_from(["left", "right"]), st.sampled_from([None, 8]))
def test_batches_are_those_of_the_stock_collator(batch, side, multiple):
    tokenizer = BertTokenizer(vocab=VOCAB, padding_side=side)
    stock = DataCollatorForTokenClassification(tokenizer, pad_to_multiple_of=multiple)
    columns = ("input_ids", "token_type_ids", "labels")
    expected = stock([{name: list(row[name]) for name in columns} for row in features_of(batch)])
    ours = TaggingCollator(
        tokenizer.pad_token_id,
        pad_to_multiple_of=multiple,
        padding_side=side,
        model_input_names=tokenizer.model_input_names,
    )(features_of(batch))
    assert set(ours) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(ours[name], tensor), name
        assert ours[name].dtype == tensor.dtype


def test_only_what_the_model_takes_is_handed_on():
    batch = TaggingCollator(7)(features_of([[(1, 0)], [(1, 0), (2, 1)]]))
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    assert batch["input_ids"].tolist() == [[1, 7], [1, 2]]
    assert batch["labels"].tolist() == [[0, IGNORED], [0, 1]]


def test_unlabelled_rows_and_fixed_width():
    features = [{"input_ids": np.array([1, 2], dtype=np.int32)}]
    batch = TaggingCollator(0, max_length=5, pad_to_multiple_of=4)(features)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[1, 2, 0, 0, 0, 0, 0, 0]],
        "attention_mask": [[1, 1, 0, 0, 0, 0, 0, 0]],
    }


def test_a_collator_goes_to_workers():
    collator = TaggingCollator(3, padding_side="left", model_input_names=["input_ids"])
    assert pickle.loads(pickle.dumps(collator)) == collator


@pytest.mark.parametrize("length", [1, 75])
def test_the_labels_do_not_change_places(length):
    batch = TaggingCollator(0)(features_of([[(index % 7, index) for index in range(length)]]))
    assert batch["labels"][0].tolist() == list(range(length))
