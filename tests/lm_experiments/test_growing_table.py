"""Parts of a table that survive an interruption, and the curves drawn of them."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from finetune.lm_experiments.growing_table import GrowingTable
from finetune.lm_experiments.loss_curves import write_loss_curves


def rows(*numbers: int) -> pa.Table:
    return pa.table({"n": list(numbers), "text": pa.array([f"t{n}" for n in numbers]).dictionary_encode()})


def test_parts_after_a_step_are_taken_back(tmp_path):
    table = GrowingTable(tmp_path / "parts")
    for step in (1, 2, 3):
        table.write(rows(step))
        table.close_part(step)
    table.write(rows(9))
    del table  # killed
    again = GrowingTable(tmp_path / "parts")
    again.drop_after(2)
    assert 2 in again.numbers() and 3 not in again.numbers()
    again.write(rows(3, 33))
    again.close_part(3)
    again.write(rows(4))
    again.drop_open()
    assert again.finish(tmp_path / "all.csv.gz") == 4
    found = pd.read_csv(tmp_path / "all.csv.gz")
    assert found["n"].tolist() == [1, 2, 3, 33] and found["text"].tolist() == ["t1", "t2", "t3", "t33"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.csv.gz"]


def test_one_page_for_each_loss(tmp_path):
    losses = pa.table(
        {
            "epoch": [1, 1, 1, 2, 2, 2],
            "batch_number": [1, 2, 1, 1, 2, 1],
            "dataset_type": ["train", "train", "validation"] * 2,
            "loss": [3.0, 2.0, 2.5, 1.5, 1.0, 2.0],
            "KLBaselineLoss": [0.1, 0.2, None, 0.3, 0.2, None],
        }
    )
    path = write_loss_curves(tmp_path / "loss_curves.pdf", losses)
    content = path.read_bytes()
    assert content.startswith(b"%PDF") and content.count(b"/Type /Page ") == 2
    assert write_loss_curves(tmp_path / "again.pdf", losses).read_bytes() == content
