from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from transformers import AutoTokenizer

from finetune.errors import DataError
from finetune.pregeneration.epoch_files import OutputFormat
from finetune.pregeneration.epochs import find_epoch_files, open_epochs
from finetune.pregeneration.instances import InstanceSettings
from finetune.pregeneration.pregenerate import Pregeneration, pregenerate


@pytest.fixture(scope="module")
def tokenizer(minilm_folder):
    return AutoTokenizer.from_pretrained(minilm_folder)


@pytest.fixture(params=list(OutputFormat))
def folder(request, tokenizer, shared_data, tmp_path):
    paths = [shared_data / "lm" / "dev_corpus.txt"]
    task = Pregeneration(paths, tmp_path / "data", 2, InstanceSettings(max_seq_len=64), request.param)
    pregenerate(task, tokenizer)
    return tmp_path / "data"


def change_metrics(folder, **changes):
    path = folder / "epoch_0_metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_every_instance_comes_once_an_epoch_and_few_twice(folder, tokenizer, tmp_path):
    data = open_epochs(folder, tokenizer, epochs=2, work=tmp_path)
    sizes = [len(epoch) for epoch in data.epochs]
    assert data.max_seq_len == 64 and len(data) == max(sizes)
    for epoch in range(4):
        order = data.draw_order(epoch, seed=1)
        rows = order - (epoch % 2) * data.stride
        assert sorted(set(rows.tolist())) == list(range(sizes[epoch % 2])) and len(order) == len(data)
        assert np.bincount(rows).max() <= 2
        assert np.array_equal(order, data.draw_order(epoch, seed=1))
        example, expected = data[order[0]], data.epochs[epoch % 2][int(rows[0])]
        assert np.array_equal(example["input_ids"], expected["input_ids"])
    assert not np.array_equal(data.draw_order(0, 1), data.draw_order(2, 1))
    assert not np.array_equal(data.draw_order(0, 1), data.draw_order(0, 2))


def test_json_read_in_memory_and_by_way_of_arrays_is_the_same(folder, tokenizer, tmp_path):
    one, other = (open_epochs(folder, tokenizer, epochs=1, work=work) for work in (None, tmp_path))
    for name in one.epochs[0].arrays.__dataclass_fields__:
        assert np.array_equal(getattr(one.epochs[0].arrays, name), getattr(other.epochs[0].arrays, name)), name


def test_fewer_epochs_than_asked_are_gone_through_again_and_said(folder, tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        assert len(open_epochs(folder, tokenizer, epochs=5).epochs) == 2
    assert "fewer epochs of pregenerated data (2) than training epochs (5)" in caplog.text


def test_other_casing_is_refused_with_both_names(folder, minilm_folder):
    cased = AutoTokenizer.from_pretrained(minilm_folder, do_lower_case=False)
    with pytest.raises(DataError, match=r"made with the tokenizer .*\(BertTokenizer, lower-casing\), and this model's is "
                       r".*\(BertTokenizer, not lower-casing\)"):  # fmt: skip
        open_epochs(folder, cased, epochs=2)


def test_data_of_the_published_script_is_judged_by_its_pieces(folder, tokenizer, minilm_folder):
    """Its metrics name no tokenizer."""
    metrics = folder / "epoch_0_metrics.json"
    said = json.loads(metrics.read_text())
    metrics.write_text(json.dumps({name: said[name] for name in ("num_training_examples", "max_seq_len")}))
    assert len(open_epochs(folder, tokenizer, epochs=1).epochs[0]) == said["num_training_examples"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_training_examples": 3}, "instances and its metrics say 3"),
        ({"max_seq_len": 20}, "subwords, and the metrics say at most 20"),
    ],
)
def test_metrics_that_disagree_are_told(folder, tokenizer, changes, message):
    change_metrics(folder, **changes)
    with pytest.raises(DataError, match=message):
        open_epochs(folder, tokenizer, epochs=1)


def test_missing_files_are_told(folder, tokenizer, tmp_path):
    (folder / "epoch_0_metrics.json").unlink()
    (folder / "epoch_1_metrics.json").write_text("{}")
    with pytest.raises(DataError) as caught:
        open_epochs(folder, tokenizer, epochs=2)
    assert len(caught.value.problems) == 2
    with pytest.raises(DataError, match="no such folder"):
        find_epoch_files(tmp_path / "none", 1)
    with pytest.raises(DataError, match="no training data was found"):
        find_epoch_files(tmp_path, 1)
