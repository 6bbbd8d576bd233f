"""Texts to predict: lines of files and of standard input, values of JSON, the places of words in their text."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.prediction_input import (
    STDIN,
    InputText,
    holds_in_order,
    iterate_json_values,
    place_words,
    read_inputs,
    read_line_file,
)
from finetune.errors import DataError, Problem


def read(tmp_path, name: str, text: str, kind: str = "text"):
    path = tmp_path / name
    data = text.encode("utf-8")
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return list(read_inputs([str(path)], kind, read_line_file))


def test_a_line_is_a_text_empty_ones_too(tmp_path):
    texts = read(tmp_path, "a.txt.gz", "Maria flew  to Bonn.\n\nHi")
    assert [text.text for text in texts] == ["Maria flew  to Bonn.", "", "Hi"]
    words, places = texts[0].split()
    assert words == ["Maria", "flew", "to", "Bonn", "."]
    assert [texts[0].text[start:end] for start, end in places] == words
    assert texts[1].split() == ([], [])


def test_words_are_what_spaces_separate(tmp_path):
    (text,) = read(tmp_path, "a.txt", "  don't  stop. \n", "words")
    assert (text.words, text.text) == (["don't", "stop."], "don't stop.")


@given(st.lists(st.text(min_size=0, max_size=5), max_size=6))
def test_words_stand_at_their_places(words):
    text = " ".join(words)
    assert holds_in_order(text, words)
    assert [text[start:end] for start, end in place_words(words, text)] == words


def test_what_the_input_held_is_kept_beside_the_prediction():
    text = InputText("a", None, Path("x"), 1, {"id": 7, "label": "old", "scores": [1]})
    assert text.beside({"text": "a", "label": "new", "scores": {}}) == {
        "id": 7, "gold_label": "old", "gold_scores": [1], "text": "a", "label": "new", "scores": {},
    }  # fmt: skip


values = st.lists(
    st.dictionaries(st.sampled_from(["text", "id"]), st.text(max_size=6), min_size=1), min_size=1, max_size=5
)


@given(values, st.sampled_from(["lines", "spread lines", "list", "one line"]))
def test_json_lines_and_lists_hold_the_same_values(tmp_path_factory, records, form):
    text = {
        "lines": "\n".join(map(json.dumps, records)),
        "spread lines": "\n\n" + "\n\n".join(map(json.dumps, records)) + "\n",
        "list": json.dumps(records, indent=1),
        "one line": json.dumps(records),
    }[form]
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(text, encoding="utf-8")
    assert [value for value, _ in iterate_json_values(path)] == records


def test_a_line_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "good"}\n{\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl:2: not a JSON object"):
        list(iterate_json_values(path))


def test_standard_input_is_kept_for_readers_of_whole_files_and_named_by_them(monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"Anna O\n")))

    def read_file(path: Path, kind: str):
        assert (path.read_bytes(), kind) == (b"Anna O\n", "conll")
        raise DataError(Problem("nothing", path=path, line=1))
        yield

    with pytest.raises(DataError) as raised:
        list(read_inputs(None, "conll", read_file))
    assert raised.value.problems[0].path == STDIN
