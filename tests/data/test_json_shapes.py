"""Records of JSON in every layout come out the same, for texts and for tagged words alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.files import TextLines
from finetune.data.json_shapes import read_json_records
from finetune.data.row_files import read_row_file
from finetune.errors import DataError

RECORD = st.fixed_dictionaries({"text": st.text(min_size=1).map("a b ".__add__), "label": st.text(max_size=3)})


def layouts(records: list[dict]) -> dict[str, str]:
    columns = {name: {str(n): record[name] for n, record in enumerate(records)} for name in records[0]}
    split = {"columns": list(records[0]), "data": [[record[name] for name in records[0]] for record in records]}
    return {
        "lines": "\n".join(map(json.dumps, records)),
        "list": json.dumps(records),
        "pretty": json.dumps(records, indent=2),
        "wrapped": json.dumps({"version": "1", "data": records}),
        "wrapped pretty": json.dumps({"data": [*records, None]}, indent=1),
        "columns": json.dumps(columns),
        "column lists": json.dumps({name: [record[name] for record in records] for name in records[0]}),
        "split": json.dumps(split),
    }


@given(st.lists(RECORD, min_size=2, max_size=4))
def test_every_layout_holds_the_same_records(records: list[dict]) -> None:
    for name, text in layouts(records).items():
        assert read_json_records(TextLines(Path("a.json"), text.split("\n"))).values == records, name


def test_a_key_is_chosen_where_there_are_several(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"good": [{"text": "a b", "label": "x"}], "bad": [{"text": "c d", "label": "y"}]}))
    with pytest.raises(DataError, match=r"several lists of records: good, bad; choose one with --field"):
        read_row_file(path)
    assert read_row_file(path, key="bad").columns == {"text": ["c d"], "label": ["y"]}
    with pytest.raises(DataError, match=r"'worse' holds no list of records; its keys are good, bad"):
        read_row_file(path, key="worse")


def test_one_sentence_is_no_table_of_columns() -> None:
    record = {"tokens": ["Ann", "left"], "tags": ["B-PER", "O"]}
    for text in (json.dumps(record), json.dumps(record, indent=1)):
        assert read_json_records(TextLines(Path("a.json"), text.split("\n"))).values == [record]


@pytest.mark.parametrize(
    ("records", "labels"),
    [
        (
            [
                {
                    "data": {"text": "a b"},
                    "annotations": [{"result": [{"type": "choices", "value": {"choices": ["x"]}}]}],
                }
            ],
            ["x"],
        ),
        ([{"text": "a b", "accept": ["x"], "options": [{"id": "x"}], "answer": "accept"}], [["x"]]),
        ([{"content": "a b", "annotation": {"labels": ["x"], "note": ""}}], [["x"]]),
        ([["a b", {"cats": {"x": 1.0, "y": 0.0}}]], [["x"]]),
        ([{"text": "a b", "label": {"choices": ["x", "y"]}}], [["x", "y"]]),
    ],
    ids=["label studio", "prodigy", "dataturks", "spacy", "json-min"],
)
def test_labels_of_annotation_tools(tmp_path: Path, records: list, labels: list) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(records))
    assert read_row_file(path).columns["label"] == labels


def test_rejected_and_untouched_texts_are_counted(tmp_path: Path) -> None:
    answers = [
        {"text": f"a {n}", "label": "x", "answer": answer} for n, answer in enumerate(("accept", "reject", "ignore"))
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, answers)))
    table = read_row_file(path)
    assert table.columns["text"] == ["a 0"]
    assert any("2 texts were skipped" in note for note in table.notes)
    path.write_text(json.dumps([{"data": {"text": "a"}, "annotations": []}]))
    with pytest.raises(DataError, match="nobody annotated any task"):
        read_row_file(path)
    spans = [{"type": "labels", "value": {"start": 0, "end": 1, "labels": ["x"]}}]
    path.write_text(json.dumps([{"data": {"text": "a"}, "annotations": [{"result": spans}]}]))
    with pytest.raises(
        DataError, match=r"none is a choice for the whole text; spans in texts are learnt by run_ner.py"
    ):
        read_row_file(path)
    path.write_text("\n".join(json.dumps({"text": "a b", "label": "x", "answer": word}) for word in ("yes", "no")))
    assert len(read_row_file(path)) == 2  # a column of that name, and no tool
