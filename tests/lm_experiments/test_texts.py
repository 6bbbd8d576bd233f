"""Files of texts with labels and metadata: what is read, what is refused, and rows that stay together."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.errors import DataError
from finetune.lm_experiments.texts import AnnotatedTexts, read_annotated_texts


def write(path, lines):
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("ending", [".txt", ".txt.gz"])
@pytest.mark.parametrize("beside", [".json", ".json.gz"])
def test_lines_and_their_metadata(tmp_path, ending, beside):
    path = write(tmp_path / f"my.data{ending}", ["The cat\u2028sleeps.", "A dog."])
    write(tmp_path / f"my.data_metadata{beside}", [{"condition": 1}, {"condition": 2}])
    texts = read_annotated_texts(path)
    assert texts.texts == ["The cat\u2028sleeps.", "A dog."] and texts.name == "my.data"
    assert texts[1] == {"text": "A dog.", "labels": None, "metadata": {"condition": 2}}
    assert len(texts.files) == 2


@pytest.mark.parametrize("ending", [".json", ".json.gz"])
def test_texts_with_labels_and_no_metadata(tmp_path, ending, caplog):
    path = write(tmp_path / f"x{ending}", [{"text": "a [MASK]", "labels": "a b"}, {"text": "c", "labels": "d"}])
    texts = read_annotated_texts(path, max_samples=1)
    assert list(texts) == [{"text": "a [MASK]", "labels": "a b", "metadata": {}}]
    assert "has no metadata" in caplog.text


def test_lines_without_text_take_their_metadata_with_them(tmp_path, caplog):
    path = write(tmp_path / "x.txt", ["a", "", "b"])
    write(tmp_path / "x_metadata.json", [{"n": 1}, {"n": 2}, {"n": 3}])
    texts = read_annotated_texts(path)
    assert [item["metadata"]["n"] for item in texts] == [1, 3] and texts.lines == [1, 3]
    assert "1 of 3 lines hold no text" in caplog.text and len(texts.notes) == 1


def problems_of(path) -> str:
    with pytest.raises(DataError) as raised:
        read_annotated_texts(path)
    return "\n".join(str(problem) for problem in raised.value.problems)


def test_every_problem_of_both_files(tmp_path):
    path = write(tmp_path / "x.json", [{"txt": "a"}, {"text": 5, "labels": "b"}, {"text": "c", "labels": 7}])
    write(tmp_path / "x_metadata.json", ["{broken", "[1]", {}])
    text = problems_of(path)
    for part in (":1: there is no 'text'; the keys are txt", ":2: text is no text", ":3: labels is no text"):
        assert part in text
    assert "x_metadata.json:1: the line is no JSON" in text and "x_metadata.json:2: the line is JSON, but no" in text


def test_labels_of_some_lines_only(tmp_path):
    path = write(tmp_path / "x.json", [{"text": "a"}, {"text": "b", "labels": "b"}])
    assert "1 of 2 lines have labels; all or none must" in problems_of(path)


def test_other_numbers_of_lines(tmp_path):
    path = write(tmp_path / "x.txt", ["a", "b"])
    write(tmp_path / "x_metadata.json", [{}])
    assert "it has 1 lines, but x.txt has 2 texts" in problems_of(path)


def test_a_file_without_text(tmp_path):
    assert "none of its 2 lines holds text" in problems_of(write(tmp_path / "x.txt", ["", "  "]))


def test_other_keys_of_a_line_are_metadata(tmp_path):
    path = write(tmp_path / "x.json", [{"text": "a", "verb": "go"}])
    write(tmp_path / "x_metadata.json", [{"n": 1}])
    assert read_annotated_texts(path).metadata == [{"verb": "go", "n": 1}]


def test_other_files(tmp_path):
    assert ".txt, .txt.gz, .json and .json.gz are read" in problems_of(tmp_path / "x.csv")
    write(tmp_path / "train.txt.gz", ["a"])
    assert "train.txt.gz" in problems_of(tmp_path / "trian.txt.gz")


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.integers(0, 3))
def test_expansion_keeps_rows_together(lengths, padding):
    texts = [f"t{row}" for row in range(len(lengths))]
    data = AnnotatedTexts("x", texts, [{"row": row} for row in range(len(lengths))], texts, list(range(len(lengths))))
    grown = data.expand([*lengths, *[-1] * padding])
    assert len(grown) == sum(lengths)
    assert all(item["text"] == item["labels"] == f"t{item['metadata']['row']}" for item in grown)
    assert [sum(item == text for item in grown.texts) for text in texts] == lengths


def test_expansion_of_other_data():
    with pytest.raises(ValueError, match="1 expanded lengths for 2 examples"):
        AnnotatedTexts("x", ["a", "b"], [{}, {}], None, [1, 2]).expand([2, -1])
