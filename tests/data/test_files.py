from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data import files
from finetune.data.file_kinds import guess_wide_encoding
from finetune.data.files import (
    capped,
    content_sha256,
    find_paths,
    fingerprint,
    iterate_lines,
    listed,
    read_lines,
    read_text,
)
from finetune.data.text import read_chunks
from finetune.errors import DataError, Problem


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_lines_are_cut_at_line_feeds_only(tmp_path: Path) -> None:
    text = "a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g\nh"
    path = write(tmp_path / "x.txt", text.encode())
    assert read_lines(path).lines == ["a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g", "h"]
    assert list(iterate_lines(path)) == read_lines(path).lines


@pytest.mark.parametrize("ending", ["", "\n"])
def test_the_last_line_needs_no_line_feed(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / "x.txt", f"a\nb{ending}".encode())
    assert read_lines(path).lines == list(iterate_lines(path)) == ["a", "b"]


def test_gzip_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    packed = write(tmp_path / "packed.txt", gzip.compress("ก\nข".encode(), mtime=0))
    plain = write(tmp_path / "plain.txt.gz", "ก\nข".encode())
    for path in (packed, plain):
        assert read_lines(path).lines == list(iterate_lines(path)) == ["ก", "ข"]


def test_dos_line_ends_and_byte_order_mark_are_dropped_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", b"\xef\xbb\xbfa\r\nb\nc\rd\r\n")
    source = read_lines(path)
    assert source.lines == list(iterate_lines(path)) == ["a", "b", "c\rd"]
    assert len(source.notes) == 2
    assert "byte order mark" in source.notes[0]
    assert "2 of 3 lines had DOS line ends" in source.notes[1]


def test_bytes_that_are_not_utf8_are_named_with_line_and_offset(tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", b"good\ncaf\xe9 noir\ngood\n\xe0\xa1\xd2\n")
    with pytest.raises(DataError) as caught:
        read_text(path)
    first, second = caught.value.problems
    assert (first.line, second.line) == (2, 4)
    assert "byte 0xE9 at offset 8" in first.found
    assert "WINDOWS-1252" in first.remedy
    assert "byte 0xE0 at offset 20" in second.found
    assert "WINDOWS-874" in second.remedy
    with pytest.raises(DataError) as streamed:
        list(iterate_lines(path))
    assert streamed.value.problems == (first,)


def test_every_bad_line_counts_but_only_twenty_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", b"\xff\n" * 2 + b"\xe9\n" * 23)
    path.write_bytes(b"ok\n" + path.read_bytes())
    with pytest.raises(DataError) as caught:
        read_text(path)
    assert len(caught.value.problems) == 21
    assert "5 more problems" in str(caught.value.problems[-1])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (gzip.compress(b"", mtime=0), "empty"),
        (b"\n \t\r\n", "empty"),
        ("text".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04\xff", "zip archive"),
        (gzip.compress(b"a\nb\n" * 99, mtime=0)[:-9], "damaged"),
        (gzip.compress(b"a\nb\n" * 99, mtime=0)[:20] + b"\0" * 20, "damaged"),
    ],
)
def test_unusable_files_are_one_problem_with_their_path(tmp_path: Path, data: bytes, message: str) -> None:
    path = write(tmp_path / "x.txt", data)
    with pytest.raises(DataError, match=message) as caught:
        read_lines(path)
    assert caught.value.problems[0].path == path


def test_a_missing_file_names_the_nearest_one_there(tmp_path: Path) -> None:
    write(tmp_path / "train.conll.gz", b"x")
    write(tmp_path / "readme", b"x")
    with pytest.raises(
        DataError, match=r"no such file; the nearest name in that folder is train\.conll\.gz; check --train_file"
    ):
        find_paths(tmp_path / "trian.conll", flag="--train_file")
    with pytest.raises(DataError, match="that folder holds readme, train"):
        find_paths(tmp_path / "zzz")
    with pytest.raises(DataError, match=r"its folder .* does not exist"):
        find_paths(tmp_path / "no" / "train.conll")
    with pytest.raises(DataError, match="this is a folder"):
        find_paths(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_text(tmp_path / "zzz")


def test_patterns_name_several_files_and_names_with_brackets_stay_names(tmp_path: Path) -> None:
    for name in ("part-2.txt", "part-1.txt", "part[1].txt", "other.md"):
        write(tmp_path / name, b"x")
    (tmp_path / "part-3.txt").mkdir()
    assert [path.name for path in find_paths(str(tmp_path / "part-*.txt"))] == ["part-1.txt", "part-2.txt"]
    assert [path.name for path in find_paths(tmp_path / "part[1].txt")] == ["part[1].txt"]
    with pytest.raises(DataError, match="no file fits this pattern"):
        find_paths(tmp_path / "*.csv")


def test_fingerprints_are_of_the_file_and_content_sums_of_what_it_holds(tmp_path: Path) -> None:
    plain = write(tmp_path / "x.txt", b"content" * 1000)
    packed = write(tmp_path / "x.txt.gz", gzip.compress(b"content" * 1000, mtime=0))
    assert fingerprint(packed) == {
        "path": str(packed),
        "bytes": packed.stat().st_size,
        "sha256": hashlib.sha256(packed.read_bytes()).hexdigest(),
    }
    assert content_sha256(packed) == content_sha256(plain) == hashlib.sha256(b"content" * 1000).hexdigest()


def test_lists_are_cut() -> None:
    assert listed([]) == "nothing"
    assert listed(["a", "b"]) == "a, b"
    assert listed(["a", "b", "c"], limit=2) == "a, b and 1 more"
    problems = [Problem(str(number)) for number in range(25)]
    assert len(capped(problems, Path("x"))) == 21
    assert capped(problems[:20], Path("x")) == problems[:20]


def test_a_gzip_file_that_holds_out_of_all_proportion_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGE", 1 << 20)
    path = tmp_path / "bomb.txt.gz"
    path.write_bytes(gzip.compress(b"0" * (4 << 20)))
    with pytest.raises(DataError, match="unpacks to more than 1,048,576 bytes; unpack it yourself"):
        files.read_bytes(path)
    path.write_bytes(gzip.compress(b"0" * (1 << 20)))
    assert len(files.read_bytes(path)) == 1 << 20


SCRIPTS = {  # with and without spaces and line ends
    "latin": "The keys to the cabinet are on the table.\nCafé\n",
    "thai": "ภาษาไทยง่ายนิดเดียว",
    "thai lines": "สวัสดีครับ วันนี้อากาศดี\n" * 3,
    "chinese": "今天天气很好，我们去公园散步。\n一个人在家看书。\n",
    "japanese": "これは日本語の文章です。\nカタカナもあります。\n",
    "korean": "안녕하세요 세계\n한국어 문장입니다.\n",
    "russian": "Ключи от шкафа лежат на столе.\n",
    "hindi": "चाबियाँ मेज़ पर हैं।\n",
    "arabic": "المفاتيح على الطاولة.\n",
    "emoji": "😀 😀 fine\n",
    "empty first line": "\nsecond line\n",
}


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16LE"), ("utf-16-be", "UTF-16BE")]
)
@pytest.mark.parametrize("packed", [False, True])
def test_utf16_is_named_in_every_script_with_and_without_its_mark(tmp_path, name, encoding, said, packed):
    data = SCRIPTS[name].encode(encoding)
    path = write(tmp_path / "x.txt", gzip.compress(data, mtime=0) if packed else data)
    for read in (read_text, read_lines, lambda path: list(iterate_lines(path)), lambda path: list(read_chunks([path]))):
        with pytest.raises(DataError) as caught:
            read(path)
        assert f"the file is {said}; UTF-8 is read; save it as UTF-8: iconv -f {said} -t UTF-8" in str(caught.value)


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp874", "cp1251", "gb18030", "shift-jis", "euc-kr", "cp1252"]
)
def test_text_in_bytes_is_not_taken_for_utf16(name, encoding):
    assert guess_wide_encoding(SCRIPTS[name].encode(encoding, "ignore") * 30) is None
    assert guess_wide_encoding(SCRIPTS[name].encode(encoding, "ignore")[:1]) is None


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=300))
def test_no_text_in_utf8_is_taken_for_utf16(text):
    assert guess_wide_encoding(text.encode()) is None


def test_utf16_that_was_converted_as_if_it_were_latin_is_named(tmp_path):
    path = write(tmp_path / "x.txt", "The keys are here.\n".encode("utf-16").decode("cp1252").encode())
    with pytest.raises(
        DataError, match=r"was UTF-16 and was converted as if it were something else; .* the original anew"
    ):
        read_text(path)
