from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.errors import DataError
from finetune.tagging.formats.sentences import Sentences, TagColumns
from finetune.tagging.formats.table import has_table_header, parse_list, read_table

UNCLOSED_QUOTE = "a quoted cell is opened in this row and never closed"


def read(folder: Path, text: str, name: str = "x.csv", **columns: Any) -> Sentences:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return read_table(path, TagColumns(**columns))


def problems_of(folder: Path, text: str, name: str = "x.csv", **columns: Any) -> list[tuple[int | None, str]]:
    with pytest.raises(DataError) as caught:
        read(folder, text, name, **columns)
    return [(problem.line, problem.found) for problem in caught.value.problems]


def test_one_token_a_row_with_a_sentence_id(tmp_path: Path) -> None:
    sentences = read(tmp_path, 'sent_id,word,pos,tag\n1,Ann,NNP,B-PER\n1,"a ""b"", c",V,O\n2,x,N,O\n', task="pos")
    assert sentences.words == [["Ann", 'a "b", c'], ["x"]]
    assert sentences.tags == [["NNP", "V"], ["N"]]
    assert sentences.lines == [2, 4]


def test_an_empty_id_goes_on_with_its_sentence(tmp_path: Path) -> None:
    text = "Sentence #,Word,POS,Tag\r\nSentence: 1,Ann,NNP,B-per\r\n,met,VB,O\r\nSentence: 2,x,NN,O\r\n"
    sentences = read(tmp_path, text, tags="Tag")
    assert sentences.words == [["Ann", "met"], ["x"]]
    assert sentences.tags == [["B-per", "O"], ["O"]]
    assert "4 of 4 lines had DOS line ends" in sentences.notes[0]


def test_a_tsv_is_not_quoted(tmp_path: Path) -> None:
    sentences = read(tmp_path, 'sentence_id\ttoken\tner\n1\t"\tO\n1\tAnn\tB-PER\n1\t"\tO\n', "x.tsv")
    assert sentences.words == [['"', "Ann", '"']]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("json.csv", 'tokens,ner_tags\n"[""Ann"", ""it\'s"", ""a, b""]","[""B-PER"", ""O"", ""O""]"\n'),
        ("python.csv", "tokens;ner_tags\n['Ann', \"it's\", 'a, b'];['B-PER', 'O', 'O']\n"),
        ("plain.tsv", "tokens\tner_tags\n[\"Ann\", \"it's\", \"a, b\"]\t['B-PER', 'O', 'O']\n"),
        ("pandas.tsv", 'tokens\tner_tags\n"[""Ann"", ""it\'s"", ""a, b""]"\t"[""B-PER"", ""O"", ""O""]"\n'),
        ("numbers.csv", "tokens|ner_tags\n['Ann', \"it's\", 'a, b']|[1, 0, 0]\n"),
    ],
)
def test_one_sentence_a_row_with_lists(tmp_path: Path, name: str, text: str) -> None:
    sentences = read(tmp_path, text, name, labels=("O", "B-PER"))
    assert sentences.words == [["Ann", "it's", "a, b"]]
    assert sentences.tags == [["B-PER", "O", "O"]]


def test_lists_with_line_feeds_inside_quotes_keep_their_lines(tmp_path: Path) -> None:
    text = 'tokens,tags\n"[""a"",\n""b""]","[""O"", ""O""]"\n"[""c""]","[""O"", ""O""]"\n'
    assert problems_of(tmp_path, text) == [(4, "1 tokens but 2 tags")]


def test_words_and_tags_apart_by_spaces(tmp_path: Path) -> None:
    sentences = read(tmp_path, "text,labels\nAnn met Bob,B-PER O B-PER\n")
    assert (sentences.words, sentences.tags) == ([["Ann", "met", "Bob"]], [["B-PER", "O", "B-PER"]])
    numbered = read(tmp_path, "id,a,b\n1,O O,x y\n", words="2", tags="1")
    assert (numbered.words, numbered.tags) == ([["x", "y"]], [["O", "O"]])
    assert problems_of(tmp_path, "text,labels\nAnn met,O\n") == [(2, "2 text but 1 labels")]


def test_text_with_spans_and_text_without_labels(tmp_path: Path) -> None:
    sentences = read(tmp_path, 'id,text,label\n1,Ann met.,"[[0,3,""PER""]]"\n')
    assert (sentences.words, sentences.tags) == ([["Ann", "met", "."]], [["B-PER", "O", "O"]])
    assert read(tmp_path, "id,text\n1,Ann met.\n", required=False).words == [["Ann", "met", "."]]
    assert read(tmp_path, "id,tokens\n1,Ann met.\n", required=False).words == [["Ann", "met."]]


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("id,word,tag\n1,a\n1,b,O\n", {}, [(2, "the row has 2 columns")]),
        ("id,word,tag\n1,,O\n1,a,\n", {}, [(2, "the word is empty"), (3, "the word 'a' has an empty tag")]),
        ("id,word,tag\n1,a,O\n", {"tags": "ner"}, [(None, "there is no column 'ner'")]),
        ("id,word,tag\n1,a,O\n", {"words": "wrod"}, [(None, "there is no column 'wrod'")]),
        ("id,word\n1,a\n", {}, [(None, "there is no label column")]),
        ('id,word,tag\n1,a,O\n1,"b,O\n1,c,O\n', {}, [(3, UNCLOSED_QUOTE)]),
        ("tokens,tags\n['a' b],['O']\n", {}, [(2, "the cell of tokens is no list: \"['a' b]\"")]),
        ("id,word,tag\n1,a,O\n", {"delimiter": "ab"}, [(None, "'ab' is no delimiter")]),
        ("id,word,tag\n", {}, [(None, "the file holds a header and no rows")]),
        ("a,b\n1,2\n", {}, [(None, "no column is called words, tokens or text")]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, columns: dict, expected: list) -> None:
    assert problems_of(tmp_path, text, **columns) == expected


def test_columns_may_be_missing_only_in_a_test_set(tmp_path: Path) -> None:
    assert read(tmp_path, "id,word\n1,a\n", tags="ner", required=False).tags is None


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.integers(), max_size=5))
def test_lists_that_python_and_json_print_are_read(items: list) -> None:
    import json

    assert parse_list(repr(items)) == items
    assert parse_list(json.dumps(items)) == items


@pytest.mark.parametrize(
    "cell",
    ["['a' b]", "['a' 'b' ... 'c']", "['a'", "[a]", "[__import__('os')]", "['a', ...]", "{'a': 1}", "['a'] + ['b']"],
)
def test_other_things_are_no_lists(cell: str) -> None:
    assert parse_list(cell) is None


def test_headers_are_told_from_words() -> None:
    assert has_table_header("tokens\tner_tags", TagColumns())
    assert has_table_header("Word\tEntity", TagColumns(tags="Entity"))
    assert not has_table_header("EU\tB-ORG", TagColumns())
    assert not has_table_header("word", TagColumns())
