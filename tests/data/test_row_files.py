from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.row_files import read_row_file, rows_of_dataset
from finetune.data.separated_rows import sniff_delimiter
from finetune.errors import DataError


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_csv_with_quotes_newlines_and_commas(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"one, ""two""\nthree",1\n\nplain,0\n')
    table = read_row_file(path)
    assert table.columns == {"text": ['one, "two"\nthree', "plain"], "label": ["1", "0"]}
    assert table.lines == [2, 5]
    assert table.are_texts


def test_tsv_takes_quotes_as_text_and_unusual_line_breaks_stay(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", '\ufefftext\tlabel\n"open quote\t1\nline\x0bfeed\u2028\x85\t0')
    table = read_row_file(path)
    assert table.columns["text"] == ['"open quote', "line\x0bfeed\u2028\x85"]
    assert any("byte order mark" in note for note in table.notes)


def test_json_lines_list_and_gzip_agree(tmp_path: Path) -> None:
    records = [{"text": "ก", "label": 1}, {"text": "b", "label": None, "extra": [1, 2]}]
    lines = "\n".join(json.dumps(record) for record in records)
    expected = {"text": ["ก", "b"], "label": [1, None], "extra": [None, [1, 2]]}
    assert read_row_file(write(tmp_path / "a.jsonl", lines)).columns == expected
    assert read_row_file(write(tmp_path / "a.json", json.dumps(records))).columns == expected
    packed = read_row_file(write(tmp_path / "b.jsonl.gz", gzip.compress(lines.encode())))
    assert packed.columns == expected
    assert packed.lines == [1, 2]


def test_parquet_and_hub_rows_keep_declared_names(tmp_path: Path) -> None:
    features = Features(
        {"text": Value("string"), "label": ClassLabel(names=["no", "yes"]), "tags": List(ClassLabel(names=["x"]))}
    )
    rows = Dataset.from_dict({"text": ["a"], "label": [1], "tags": [[0]]}, features=features)
    rows.to_parquet(tmp_path / "a.parquet")
    for table in (read_row_file(tmp_path / "a.parquet"), rows_of_dataset(rows)):
        assert table.columns == {"text": ["a"], "label": [1], "tags": [[0]]}
        assert table.label_names == {"label": ["no", "yes"], "tags": ["x"]}


def test_headless_files_need_names(shared_data: Path) -> None:
    path = shared_data / "thai_sentiment_small" / "review_shopping.csv"
    table = read_row_file(path, column_names=["text", "label"])
    assert len(table) == 128
    assert set(table.columns["label"]) == {"pos", "neg"}


def test_row_without_its_label_column_is_named(shared_data: Path) -> None:
    path = shared_data / "thai_sentiment_small" / "tcas61.csv"
    with pytest.raises(DataError, match=r"tcas61.csv:\d+: the row has 1 columns; 2 are named with --column_names"):
        read_row_file(path, column_names=["text", "label"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            'text,label\n"never closed,1\nx,2\n',
            "a.csv:2: a quoted cell is opened in this row and never closed",
        ),
        ("a.csv", "text,label\na,1\nb\n", "a.csv:3: the row has 1 columns; 2 are in the first line: text, label"),
        ("a.csv", "text,text\na,1\n", "a.csv:1: the columns text occur twice"),
        ("a.csv", "text,label\n", "holds a header and no rows"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "a.jsonl:2: the line is no JSON"),
        ("a.jsonl", '{"a": 1}\n[1]\n', "a.jsonl:2: this is no JSON object"),
        ("a.json", '[{"a": 1},\n{]', "a.json:2: this is no JSON"),
        ("a.parquet", "text", "this is no Parquet file"),
        ("a.xlsx", "text", r"the extension .xlsx is not known; .jsonl, .json, .csv, .tsv and .parquet are read"),
    ],
)
def test_broken_files_say_where(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_row_file(write(tmp_path / name, content))


@pytest.mark.parametrize(("line", "delimiter"), [("a;b;c", ";"), ("a\tb", "\t"), ('"a;b",c', ","), ("text", ",")])
def test_delimiter_of_the_first_line(line: str, delimiter: str) -> None:
    assert sniff_delimiter(["", line]) == delimiter


CELL = st.text(alphabet='ab ",;\n\tก', max_size=6)


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5))
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    import csv
    import io

    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("text", "label"), *rows])
    path = write(tmp_path_factory.mktemp("rows") / "a.csv", buffer.getvalue())
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    if not filled:
        with pytest.raises(DataError, match="holds a header and no rows"):
            read_row_file(path, delimiter=",")
        return
    table = read_row_file(path, delimiter=",")
    assert list(zip(table.columns["text"], table.columns["label"], strict=True)) == filled
