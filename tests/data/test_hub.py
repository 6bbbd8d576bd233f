"""Parquet files, data sets saved to disk, and the hub: rows with declared names of tag ids."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from finetune.data import hub
from finetune.errors import DataError
from finetune.tagging.formats.parquet import read_parquet
from finetune.tagging.formats.sentences import TagColumns

NAMES = ["O", "B-LOC", "I-LOC"]


@pytest.fixture
def rows() -> datasets.Dataset:
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(datasets.ClassLabel(names=NAMES)),
        }
    )
    values = {"id": ["0", "1"], "tokens": [["to", "New", "York"], ["x"]], "ner_tags": [[0, 1, 2], [0]]}
    return datasets.Dataset.from_dict(values, features=features)


def test_names_of_tag_ids_come_from_the_metadata(rows: datasets.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    rows.to_parquet(path)
    sentences = read_parquet(path, TagColumns())
    assert sentences.words == [["to", "New", "York"], ["x"]]
    assert sentences.tags == [["O", "B-LOC", "I-LOC"], ["O"]]
    assert sentences.labels == NAMES
    assert sentences.lines == [1, 2]


def test_text_with_spans_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    spans = [[{"start": 0, "end": 3, "label": "PER"}]]
    datasets.Dataset.from_dict({"text": ["Ann met"], "entities": spans}).to_parquet(path)
    assert read_parquet(path, TagColumns()).tags == [["B-PER", "O"]]


def test_rows_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    datasets.Dataset.from_dict({"tokens": [["a"], ["b"]], "tags": [["O"], ["O", "O"]]}).to_parquet(path)
    with pytest.raises(DataError, match=r"x\.parquet:2: 1 tokens but 2 tags"):
        read_parquet(path, TagColumns())


def test_files_that_are_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_text("tokens")
    with pytest.raises(DataError, match="this is no Parquet file"):
        read_parquet(path, TagColumns())
    with pytest.raises(DataError, match=r"the nearest name in that folder is x\.parquet"):
        read_parquet(tmp_path / "y.parquet", TagColumns())


def test_splits_go_by_our_names(rows: datasets.Dataset) -> None:
    loaded = datasets.DatasetDict({"extra": rows, "test": rows, "dev": rows, "training": rows})
    assert list(hub.known_splits(loaded)) == ["train", "validation", "test"]


def test_saved_data_sets_are_known_by_their_files(rows: datasets.Dataset, tmp_path: Path) -> None:
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "dictionary")
    rows.save_to_disk(tmp_path / "single")
    assert hub.is_saved_dataset(tmp_path / "dictionary")
    assert hub.is_saved_dataset(tmp_path / "single")
    assert not hub.is_saved_dataset(tmp_path)
    loaded = hub.read_saved_dataset(tmp_path / "dictionary")
    assert list(loaded) == ["train", "test"]
    assert all(path.is_file() for path in hub.cached_files(loaded["test"]))
    assert list(hub.read_saved_dataset(tmp_path / "single")) == ["train"]


def test_a_damaged_folder_is_one_sentence(rows: datasets.Dataset, tmp_path: Path) -> None:
    rows.save_to_disk(tmp_path)
    (tmp_path / "state.json").unlink()
    with pytest.raises(DataError, match="the saved data set cannot be read"):
        hub.read_saved_dataset(tmp_path)


def test_a_hub_out_of_reach_is_one_sentence_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object) -> None:
        raise ConnectionError("Couldn't reach 'some/corpus' on the Hub\nand more")

    monkeypatch.setattr(hub.datasets, "load_dataset", offline)
    with pytest.raises(DataError) as caught:
        hub.load_hub_dataset("some/corpus", None)
    sentence = str(caught.value)
    assert "'some/corpus' is neither a known corpus nor a folder" in sentence
    assert "--train_file FOLDER/train.parquet" in sentence
    assert "and more" not in sentence


def test_a_missing_configuration_names_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(*args: object) -> None:
        raise ValueError("Config name is missing. Please pick one among the available configs: ['a', 'b']")

    monkeypatch.setattr(hub.datasets, "load_dataset", choose)
    with pytest.raises(DataError, match=r"\['a', 'b'\].*--dataset_config_name"):
        hub.load_hub_dataset("some/corpus", None)
