"""What spreadsheet programs do to a CSV: the same rows come out, for texts and for tagged words alike."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.files import read_lines
from finetune.data.row_files import read_row_file
from finetune.errors import DataError
from finetune.tagging.formats.choice import read_sentences
from finetune.tagging.formats.sentences import TagColumns

ROWS = "text,label\na fine film,pos\n,\nfar too long,neg\n"
EXPECTED = {"text": ["a fine film", "far too long"], "label": ["pos", "neg"]}


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("sep=;\n" + ROWS.replace(",", ";"), "names the separator"),
        ('"sep=;"\n' + ROWS.replace(",", ";"), "names the separator"),
        (ROWS.replace("\n", "\r"), "end at CR alone"),
        (ROWS.replace("\n", "\r\n"), "DOS line ends"),
        (ROWS.replace("\n", ",,\n"), "2 columns without a name"),
        (ROWS.replace("label", " label "), "1 rows hold nothing but separators"),
        (ROWS.replace(",\n", ",\n , \n\n"), "2 rows hold nothing but separators"),
    ],
)
def test_rows_of_spreadsheets(tmp_path: Path, content: str, note: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode())
    table = read_row_file(path)
    assert table.columns == EXPECTED
    assert any(note in said for said in table.notes)


def test_what_is_no_text_is_named_in_every_reader(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("[Content_Types].xml", "")
    broken = {
        "a.xlsx": (buffer.getvalue(), "this is a workbook of a spreadsheet program .*; open it there and save"),
        "b.csv": (buffer.getvalue(), "workbook .* whatever its name b.csv says"),
        "c.csv": (ROWS.encode("utf-16"), "the file is UTF-16; .*iconv -f UTF-16 "),
        "d.csv": (ROWS.encode("utf-16-le"), "the file is UTF-16LE; .*iconv -f UTF-16LE "),
        "e.csv": (ROWS.encode("utf-16-be"), "the file is UTF-16BE; .*iconv -f UTF-16BE "),
    }
    for name, (content, message) in broken.items():
        path = tmp_path / name
        path.write_bytes(content)
        for read in (read_row_file, lambda path: read_sentences(path, TagColumns())):
            with pytest.raises(DataError, match=message):
                read(path)


CELL = st.text(alphabet='ab "\n\t,é', max_size=6)


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5))
def test_quoted_tsv_is_read_back_or_refused(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    """What pandas writes with tabs: rows that need quotes are read as they were, or a problem says where."""
    buffer = io.StringIO()
    csv.writer(buffer, delimiter="\t", lineterminator="\n").writerows([("text", "label"), *rows])
    path = tmp_path_factory.mktemp("tsv") / "a.tsv"
    path.write_text(buffer.getvalue(), encoding="utf-8")
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    doubled = any('"' in cell for row in rows for cell in row)
    if not doubled or not filled:
        return
    table = read_row_file(path)
    assert list(zip(table.columns["text"], table.columns["label"], strict=True)) == filled


@pytest.mark.parametrize("content", ['text\tlabel\n" is a word\tpos\nb\tneg\n', 'text\tlabel\nsay ""\tpos\nb\tneg\n'])
def test_quotes_of_plain_tsv_stay(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(content, encoding="utf-8")
    assert read_row_file(path).columns["text"][0] == content.split("\n")[1].split("\t")[0]


def test_fasttext_lines_are_texts_with_labels(tmp_path: Path) -> None:
    for name in ("a.txt", "a.csv", "a"):
        path = tmp_path / name
        path.write_text("__label__pos a fine, film\n__label__neg __label__long far too long\n", encoding="utf-8")
        table = read_row_file(path)
        assert table.columns == {"text": ["a fine, film", "far too long"], "label": [["pos"], ["neg", "long"]]}
    path.write_text("__label__pos a\nno label\n__label__neg b\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a:2: the line has no label"):
        read_row_file(path)


def test_lines_stay_whole_where_a_cr_stands_inside(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\rb\nc\n")
    assert read_lines(path).lines == ["a\rb", "c"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "a pointer of Git LFS"),
        ("<!DOCTYPE html>\n<html><body>404</body></html>\n", "an HTML page"),
        ("\n <html lang='en'>\n", "an HTML page"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.conll"])
def test_what_a_download_left_instead_of_the_file_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        read_lines(tmp_path / name)
