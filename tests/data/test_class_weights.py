from __future__ import annotations

import pytest

from finetune.data.class_weights import read_class_weights
from finetune.errors import DataError

LABELS = ["O", "B-PER", "I-PER"]


@pytest.mark.parametrize("text", ["O 0.1\nB-PER\t2\n\nI-PER 3e0\n", '{"B-PER": 2, "I-PER": 3, "O": 0.1}'])
def test_weights_come_in_the_order_of_the_labels(tmp_path, text):
    path = tmp_path / "weights"
    path.write_text(text, encoding="utf-8")
    assert read_class_weights(path, LABELS) == [0.1, 2.0, 3.0]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ('{"O": 1}', ["there is no weight for B-PER, I-PER; the file holds lines of `label weight`"]),
        (
            "O 1\nB-PRE 2\nI-PER x\nB-PER -1",
            ["weights:3: 'I-PER x' is no label", "no label 'B-PRE'", "'B-PER' is -1.0"],
        ),
        ('{"O": 1, "B-PER": true, "I-PER": 1}', ["the weight of 'B-PER' is True; a positive number is needed"]),
        ('{"O": 1', ["not valid JSON"]),
    ],
)
def test_what_is_wrong_is_told_at_once(tmp_path, text, sentences):
    path = tmp_path / "weights"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_class_weights(path, LABELS)
    told = " ".join(map(str, caught.value.problems))
    assert all(sentence in told for sentence in sentences), told
