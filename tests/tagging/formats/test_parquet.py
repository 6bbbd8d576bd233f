from __future__ import annotations

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from finetune.errors import DataError
from finetune.tagging.formats.parquet import read_parquet
from finetune.tagging.formats.sentences import TagColumns


def test_declared_names_of_tag_ids(tmp_path):
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "B-X"]))})
    rows = Dataset.from_dict({"tokens": [["a", "b"], ["c"]], "ner_tags": [[0, 1], [1]]}, features=features)
    rows.to_parquet(tmp_path / "rows.parquet")
    found = read_parquet(tmp_path / "rows.parquet", TagColumns(task="ner"))
    assert found.words == [["a", "b"], ["c"]] and found.tags == [["O", "B-X"], ["B-X"]]


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: b"text", lambda data: data[:4] + b"x" * 40 + data[44:]]
)
def test_a_damaged_file_is_told(tmp_path, damage):
    path = tmp_path / "rows.parquet"
    Dataset.from_dict({"tokens": [["a", "b"]] * 50, "ner_tags": [["O", "O"]] * 50}).to_parquet(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"rows.parquet: this is no Parquet file \(.+\)"):
        read_parquet(path, TagColumns(task="ner"))


def test_a_missing_file_and_a_folder(tmp_path):
    (tmp_path / "folder.parquet").mkdir()
    for name, found in {"folder.parquet": "this is a folder", "folder.parqet": "no such file"}.items():
        with pytest.raises(DataError, match=found):
            read_parquet(tmp_path / name, TagColumns(task="ner"))
