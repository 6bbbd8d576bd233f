from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import DataError
from finetune.tagging.formats.jsonl import read_jsonl
from finetune.tagging.formats.sentences import Sentences, TagColumns

DOCCANO = {"id": 1, "text": "Ann met Bob Ray", "label": [[0, 3, "PER"], [8, 15, "PER"]]}
DOCCANO_RELATIONS = {
    "text": "Ann met Bob Ray",
    "entities": [
        {"id": 5, "label": "PER", "start_offset": 0, "end_offset": 3},
        {"id": 6, "label": "PER", "start_offset": 8, "end_offset": 15},
    ],
    "relations": [],
}
PRODIGY = {
    "text": "Ann met Bob Ray",
    "tokens": [
        {"text": "Ann", "start": 0, "end": 3, "id": 0},
        {"text": "met", "start": 4, "end": 7, "id": 1},
        {"text": "Bob", "start": 8, "end": 11, "id": 2},
        {"text": "Ray", "start": 12, "end": 15, "id": 3},
    ],
    "spans": [{"start": 0, "end": 3, "label": "PER"}, {"start": 8, "end": 15, "label": "PER"}],
    "answer": "accept",
}
SPACY_DOC = {"text": "Ann met Bob Ray", "ents": PRODIGY["spans"], "tokens": [{"id": 0, "start": 0, "end": 3}]}
SPACY_PAIR = ["Ann met Bob Ray", {"entities": [[0, 3, "PER"], [8, 15, "PER"]]}]
LABEL_STUDIO = {
    "data": {"text": "Ann met Bob Ray"},
    "annotations": [
        {
            "result": [
                {"type": "labels", "value": {"start": 0, "end": 3, "text": "Ann", "labels": ["PER"]}},
                {"type": "labels", "value": {"start": 8, "end": 15, "text": "Bob Ray", "labels": ["PER"]}},
                {"type": "relation", "from_id": "a"},
            ]
        }
    ],
}
LABEL_STUDIO_MIN = {
    "text": "Ann met Bob Ray",
    "label": [{"start": 0, "end": 3, "text": "Ann", "labels": ["PER"]}, {"start": 8, "end": 15, "labels": ["PER"]}],
}


def read(folder: Path, *records: Any, **columns: Any) -> Sentences:
    path = folder / "x.jsonl"
    lines = (record if isinstance(record, str) else json.dumps(record, ensure_ascii=False) for record in records)
    path.write_text("\n".join(lines), encoding="utf-8")
    return read_jsonl(path, TagColumns(**columns))


def problems_of(folder: Path, *records: Any, **columns: Any) -> list[tuple[int | None, str]]:
    with pytest.raises(DataError) as caught:
        read(folder, *records, **columns)
    return [(problem.line, problem.found) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "record",
    [DOCCANO, DOCCANO_RELATIONS, PRODIGY, SPACY_DOC, SPACY_PAIR, LABEL_STUDIO, LABEL_STUDIO_MIN],
    ids=["doccano", "doccano relations", "prodigy", "spacy doc", "spacy pair", "label studio", "label studio min"],
)
@pytest.mark.parametrize("as_list", [False, True])
def test_exports_of_annotation_tools(tmp_path: Path, record: Any, as_list: bool) -> None:
    sentences = read(tmp_path, json.dumps([record], indent=1) if as_list else record)
    assert sentences.words == [["Ann", "met", "Bob", "Ray"]]
    assert sentences.tags == [["B-PER", "O", "B-PER", "I-PER"]]
    assert sentences.texts == ["Ann met Bob Ray"]
    assert sentences.starts == [[0, 4, 8, 12]]
    assert sentences.ends == [[3, 7, 11, 15]]


def test_word_lists_with_names_or_ids(tmp_path: Path) -> None:
    named = read(tmp_path, {"tokens": ["Oslo", " "], "ner_tags": ["B-LOC", "O"]}, {"tokens": ["x"], "ner_tags": ["O"]})
    assert (named.words, named.tags, named.lines) == ([["Oslo", " "], ["x"]], [["B-LOC", "O"], ["O"]], [1, 2])
    numbered = {"words": ["Oslo", "x"], "labels": [1, 0]}
    assert read(tmp_path, numbered, labels=("O", "B-LOC")).tags == [["B-LOC", "O"]]
    without_names = read(tmp_path, numbered)
    assert without_names.tags == [["1", "0"]]
    assert "1 records have tags that are numbers without names" in without_names.notes[0]


def test_columns_are_chosen_by_name_or_task(tmp_path: Path) -> None:
    record = {"id": "7", "tokens": ["a"], "ner_tags": ["O"], "pos_tags": ["NN"], "raw": ["b"]}
    assert read(tmp_path, record).tags == [["O"]]
    assert read(tmp_path, record, task="pos").tags == [["NN"]]
    assert read(tmp_path, record, tags="pos_tags", words="raw").words == [["b"]]
    assert problems_of(tmp_path, record, tags="ner") == [(None, "there is no column 'ner'")]
    with pytest.raises(DataError, match=r"the columns are id, tokens, ner_tags, pos_tags, raw; did you mean tokens\?"):
        read(tmp_path, record, words="token")


def test_unlabelled_records(tmp_path: Path) -> None:
    assert read(tmp_path, {"tokens": ["a"]}, required=False).tags is None
    text = read(tmp_path, {"text": "a b."}, required=False)
    assert (text.words, text.tags, text.starts) == ([["a", "b", "."]], None, [[0, 2, 3]])
    assert problems_of(tmp_path, {"tokens": ["a"]}) == [(None, "there is no label column")]
    assert problems_of(tmp_path, {"text": "a", "label": "positive"}) == [(None, "there is no label column")]


def test_lines_of_pretty_printed_lists_are_counted(tmp_path: Path) -> None:
    pretty = json.dumps([{"tokens": ["a"], "tags": ["O"]}, {"tokens": ["b"], "tags": ["O", "O"]}], indent=2)
    ((line, found),) = problems_of(tmp_path, pretty)
    assert found == "1 tokens but 2 tags"
    assert pretty.split("\n")[line - 1].strip() == "{"  # type: ignore[operator]
    assert line > 5  # type: ignore[operator]


def test_everything_wrong_with_the_spans_is_named(tmp_path: Path) -> None:
    found = problems_of(
        tmp_path,
        {"text": "Ann met Bob", "label": [[0, 3, "PER"], [2, 7, "PER"], [9, 20, "PER"]]},
        {"text": "fine", "label": []},
        {"text": "Bob", "label": [[0, "end", "PER"], [0, 3], {"start": 0, "end": 3, "labels": ["A", "B"]}, 7]},
        {"text": "Bob", "label": [{"start": 0, "end": 2, "text": "Bob", "label": "PER"}]},
        {"text": "Bob", "label": None},
        {"text": 3, "label": []},
    )
    assert [line for line, _ in found] == [1, 1, 3, 3, 3, 3, 4, 5, 6]
    sentences = " | ".join(sentence for _, sentence in found)
    for part in (
        "crosses",
        "leaves the text",
        "no whole numbers",
        "has 2 parts",
        "no single name",
        "is no span",
        "but the",
    ):
        assert part in sentences


def test_spans_are_trimmed_and_words_cut_with_a_count(tmp_path: Path) -> None:
    sentences = read(tmp_path, {"text": "Smithson of IBM.", "label": [[0, 5, "PER"], [11, 15, "ORG"]]})
    assert sentences.words == [["Smith", "son", "of", "IBM", "."]]
    assert sentences.tags == [["B-PER", "O", "O", "B-ORG", "O"]]
    assert "1 spans began or ended with white space" in sentences.notes[0]
    assert "1 words were cut" in sentences.notes[1]


def test_rejected_texts_and_texts_without_words_are_counted(tmp_path: Path) -> None:
    sentences = read(
        tmp_path,
        {**PRODIGY, "answer": "reject"},
        {"text": " ", "spans": []},
        {"data": {"text": "x"}, "annotations": [{"was_cancelled": True, "result": []}]},
        PRODIGY,
    )
    assert len(sentences.words) == 1
    assert sentences.lines == [4]
    assert any("2 texts were skipped because their annotator" in note for note in sentences.notes)
    assert any("1 texts without any word" in note for note in sentences.notes)
    assert problems_of(tmp_path, {**PRODIGY, "answer": "ignore"}) == [(None, "the file holds no sentence")]


def test_words_of_the_tool_that_leave_gold_out_are_not_used(tmp_path: Path) -> None:
    record = {
        "text": "Ann met Bob",
        "tokens": [{"start": 0, "end": 3}],
        "spans": [{"start": 8, "end": 11, "label": "P"}],
    }
    sentences = read(tmp_path, record)
    assert sentences.words == [["Ann", "met", "Bob"]]
    assert sentences.tags == [["O", "O", "B-P"]]


@pytest.mark.slow
def test_thai_texts_are_cut_by_the_dictionary(tmp_path: Path) -> None:
    sentences = read(tmp_path, {"text": "ทักษิณไปกรุงเทพ นะ", "label": [[0, 6, "PER"], [8, 15, "LOC"]]})
    assert sentences.words == [["ทักษิณ", "ไป", "กรุงเทพ", " ", "นะ"]]
    assert sentences.tags == [["B-PER", "O", "B-LOC", "O", "O"]]
    assert "1 texts hold Thai" in sentences.remarks[0]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['{"tokens": ["a"], "tags": ["O"]}', '{"tokens": ', "3"], (2, "the line is no JSON")),
        (["3", '"x"'], (1, "this is no JSON object")),
        (["[", "{},", "7]"], (3, "this is no JSON object")),
        (['[{"tokens": ["a"]}', " {}]"], (2, "this is no JSON")),
        (["[]"], (None, "the file holds no record")),
        (['{"tokens": ["a", 3], "tags": ["O", "O"]}'], (1, "tokens is no list of words")),
        (['{"tokens": ["a"], "tags": [2.5]}'], (1, "tags holds something")),
        (['{"tokens": ["a"], "tags": [true]}'], (1, "tags holds something")),
        (['{"tokens": ["a"], "tags": ["O"]}', '{"tokens": ["a"], "tags": "O"}'], (2, "tags is no list of tags")),
        (['{"tokens": [], "tags": []}', '{"tokens": null}'], (None, "no column is called")),
        (['{"a": 1}'], (None, "no column is called words, tokens or text")),
    ],
)
def test_records_that_cannot_be_read(tmp_path: Path, lines: list[str], expected: tuple[int | None, str]) -> None:
    line, found = problems_of(tmp_path, *lines)[0]
    assert line == expected[0]
    assert found.startswith(expected[1])


def test_tag_ids_beyond_the_names(tmp_path: Path) -> None:
    found = problems_of(tmp_path, {"tokens": ["a", "b"], "tags": [0, -100]}, labels=("O", "B-X"))
    assert found == [(1, "tag -100 has no name")]
