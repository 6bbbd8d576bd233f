"""Texts to score with labels and metadata."""

from __future__ import annotations

import gzip

import pytest

from finetune.errors import DataError
from finetune.surprisal.input import read_scoring_file, resolve_input_files


def test_texts_labels_and_metadata(tmp_path):
    path = tmp_path / "x.v1.json.gz"
    path.write_bytes(gzip.compress(b'{"text": "a [MASK]", "labels": "a b", "n": 1}\n{"text": "c", "n": 2.5}\n'))
    (tmp_path / "x.v1_metadata.json").write_text('{"verb": "go", "text": "no"}\n{"verb": null, "tags": [1]}\n')
    (file,) = resolve_input_files([str(path)], flag="--test_file")
    assert (file.examples, file.labelled, file.name) == (2, 1, "x.v1")
    assert file.facts == {"n": "number", "verb": "text", "metadata_text": "text", "tags": "text"}
    first, second = read_scoring_file(file)
    assert (first.text, first.labels, dict(first.facts)) == (
        "a [MASK]",
        "a b",
        {"n": 1, "verb": "go", "metadata_text": "no"},
    )
    assert second.item == 1 and second.labels is None and second.facts["tags"] == [1]


def test_files_of_one_name_are_called_by_their_folders(tmp_path):
    for folder, name in (("old", "x.txt"), ("new", "x.jsonl"), ("new", "y.txt")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text('{"text": "a"}\n' if name.endswith("jsonl") else "a\n")
    files = resolve_input_files([f"{tmp_path}/old/x.txt", f"{tmp_path}/new/*"], flag="--test_file")
    assert [file.name for file in files] == ["old/x", "new/x", "y"]
    assert {row.dataset for file in files for row in read_scoring_file(file)} == {"old/x", "new/x", "y"}


def test_lines_of_text_are_kept_as_they_are(tmp_path):
    (tmp_path / "x.txt").write_bytes("  two words \n\nlast\u2028one".encode())
    (file,) = resolve_input_files([str(tmp_path / "x.txt")], flag="--test_file")
    assert [item.text for item in read_scoring_file(file)] == ["  two words ", "", "last\u2028one"]


def test_metadata_must_have_as_many_lines(tmp_path):
    (tmp_path / "x.txt").write_text("a\nb\n")
    (tmp_path / "x_metadata.json.gz").write_bytes(gzip.compress(b"{}\n{}\n{}\n"))
    with pytest.raises(DataError, match=r"3 lines, but x\.txt has 2 texts"):
        resolve_input_files([str(tmp_path / "x.txt")], flag="--test_file")


def test_a_name_in_the_lines_and_in_the_metadata_is_two_facts(tmp_path):
    (tmp_path / "x.json").write_text('{"text": "a", "n": 1}\n{"text": "b"}\n')
    (tmp_path / "x_metadata.json").write_text('{"n": 2}\n{"n": 3}\n')
    (file,) = resolve_input_files([str(tmp_path / "x.json")], flag="--test_file")
    found = [dict(item.facts) for item in read_scoring_file(file)]
    assert found == [{"n": 1, "metadata_n": 2}, {"metadata_n": 3}]


@pytest.mark.parametrize("name", ["items.csv", "pairs.tsv", "items.TSV", "items.csv.gz", "items.parquet"])
def test_tables_are_no_texts(name, tmp_path):
    """Read as lines, a header and its commas would be scored as words."""
    (tmp_path / name).write_bytes(b"item,text\n1,the dog runs\n")
    with pytest.raises(DataError, match="a table, not a file of texts"):
        resolve_input_files([str(tmp_path / name)], flag="--test_file")
