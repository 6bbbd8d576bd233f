"""Texts to predict: every format, the places of words in their text, and lines that cannot be read."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.prediction_input import read_inputs
from finetune.errors import DataError


def read(tmp_path, name: str, text: str, kind: str = "auto"):
    path = tmp_path / name
    data = text.encode("utf-8")
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return list(read_inputs([str(path)], kind))


def test_a_line_is_a_text_empty_ones_too(tmp_path):
    texts = read(tmp_path, "a.txt.gz", "Maria flew  to Bonn.\n\nHi")
    assert [text.text for text in texts] == ["Maria flew  to Bonn.", "", "Hi"]
    words, places = texts[0].split()
    assert words == ["Maria", "flew", "to", "Bonn", "."]
    assert [texts[0].text[start:end] for start, end in places] == words
    assert texts[1].split() == ([], [])


def test_words_of_conll_files_comments_and_documents_left_out(tmp_path):
    text = "-DOCSTART- O\n\n# text = New York sleeps\nNew York\tB-LOC\n \tO\nsleeps\tO\n\t\n#\tO\n1\tO"
    assert [item.words for item in read(tmp_path, "a.conll", text)] == [["New York", " ", "sleeps"], ["#", "1"]]
    assert [item.line for item in read(tmp_path, "a.conll", text)] == [4, 8]
    assert [item.words for item in read(tmp_path, "b.conll", "# O\nAnna O\n\n# a comment of four\nBob O")] == [
        ["#", "Anna"],
        ["Bob"],
    ]


def test_conllu_gives_forms(tmp_path):
    rest = "\t_" * 8
    text = (
        f"# text = vámonos al mar\n1-2\tvámonos{rest}\n1\tvamos{rest}\n2\tnos{rest}\n2.1\tx{rest}\n3\tal mar{rest}\n\n"
    )
    assert [item.words for item in read(tmp_path, "a.conllu", text)] == [["vamos", "nos", "al mar"]]
    with pytest.raises(DataError, match=r"a\.conllu:1: 'Anna' is no word id"):
        read(tmp_path, "a.conllu", "Anna\tO\n")


def test_words_and_text_of_one_object_keep_its_offsets(tmp_path):
    rows = [
        {"text": "Anna  met (Bob)", "words": ["Anna", "met", "Bob"], "id": 7},
        {"text": "else", "tokens": ["a", "b c"]},
        {"words": []},
    ]
    first, second, third = read(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n\n" for row in rows))
    assert first.fields == {"id": 7}
    assert first.split() == (["Anna", "met", "Bob"], [(0, 4), (6, 9), (11, 14)])
    assert (second.text, second.split()[1]) == ("a b c", [(0, 1), (2, 5)])
    assert (third.text, third.split()) == ("", ([], []))


@given(st.lists(st.text(min_size=0, max_size=5), max_size=6))
def test_words_stand_at_their_places(words):
    from pathlib import Path

    from finetune.data.prediction_input import read_json_line

    text = read_json_line(json.dumps({"words": words}), Path("x"), 1)
    assert [text.text[start:end] for start, end in text.split()[1]] == words


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"x": 1}', "holds nothing to predict"),
        ("[1]", "holds nothing to predict"),
        ("{", "not a JSON object"),
        ('{"text": 5}', "its text is not a string, but 5"),
        ('{"words": "ab"}', "its words are not a list of strings"),
        ('{"words": ["a", 1]}', "its words are not a list of strings"),
    ],
)
def test_lines_that_hold_nothing_are_named(tmp_path, line, sentence):
    with pytest.raises(DataError, match=rf"a\.jsonl:2: .*{sentence}"):
        read(tmp_path, "a.jsonl", '{"text": "good"}\n' + line + "\n")
