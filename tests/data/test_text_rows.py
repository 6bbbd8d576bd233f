from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finetune.data import text_rows
from finetune.data.text_rows import holds_rows, read_text_chunks, save_texts
from finetune.errors import DataError

TEXTS = ["first line\nsecond line\n", "", 'third, "quoted" and ภาษาไทย', "fourth\r\nfifth"]
LINES = ["first line", "second line", "", "", "", 'third, "quoted" and ภาษาไทย', "", "fourth", "fifth", ""]


def lines_of(path, column="text"):
    return [line for chunk in read_text_chunks([path], column=column) for line in chunk.lines()]


def write(tmp_path, kind):
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"text": TEXTS, "other": [1, 2, 3, 4]}), path)
    elif kind == "csv":
        path.write_text("text,other\n" + "".join('"' + t.replace('"', '""') + '",1\n' for t in TEXTS), newline="")
    elif kind == "json":
        path.write_text(json.dumps([{"text": text} for text in TEXTS]))
    else:
        data = "".join(json.dumps({"text": text, "other": 1}) + "\n" for text in TEXTS).encode()
        path.write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "json", "csv", "parquet"])
def test_rows_become_documents(tmp_path, kind):
    path = write(tmp_path, kind)
    assert holds_rows(path)
    assert lines_of(path) == LINES


def test_raw_text_stays_as_it_is(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text('{"text": 1}\nplain\n')
    assert not holds_rows(path) and lines_of(path) == ['{"text": 1}', "plain"]


def test_chunks_are_bounded_and_only_the_first_starts_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(text_rows, "CHUNK_BYTES", 20)
    chunks = list(read_text_chunks([write(tmp_path, "jsonl")]))
    assert len(chunks) == 3 and [chunk.starts_file for chunk in chunks] == [True, False, False]


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_missing_column_is_told_with_those_that_are_there(tmp_path, kind):
    with pytest.raises(DataError, match=r"there is no column 'body'; the columns are text.*--text_column_name"):
        lines_of(write(tmp_path, kind), column="body")


@pytest.mark.parametrize(("line", "message"), [("{", "no JSON"), ('{"text": 3}', "3 is no text"), ("[1]", "no column")])
def test_broken_rows_are_told_with_their_line(tmp_path, line, message):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine"}\n\n' + line + "\n")
    with pytest.raises(DataError, match=rf"rows\.jsonl:3: .*{message}"):
        lines_of(path)


def test_texts_are_saved_once(tmp_path):
    path = save_texts(TEXTS, tmp_path / "cache" / "texts.jsonl")
    assert lines_of(path) == LINES
    assert save_texts(["other"], path) == path and lines_of(path) == LINES
