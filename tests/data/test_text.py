from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data import text as text_module
from finetune.data.file_kinds import CONTROLS
from finetune.data.text import TextChunk, explain_unreadable, find_text_files, iterate_documents, read_chunks
from finetune.errors import DataError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_folder_gives_files_of_the_extension_packed_ones_too(tmp_path):
    for name in ("b.txt", "a.txt", "c.txt.gz", "notes.md", ".hidden.txt"):
        write(tmp_path, name, "x\n")
    assert [path.name for path in find_text_files([tmp_path], ext="txt")] == ["a.txt", "b.txt", "c.txt.gz"]
    assert find_text_files([tmp_path], ext=".txt") == find_text_files([tmp_path], ext="txt")


def test_patterns_folders_and_files_mix_and_nothing_is_taken_twice(tmp_path):
    a, b = write(tmp_path, "a.txt", "x"), write(tmp_path, "b.txt", "x")
    assert find_text_files([a, tmp_path / "*.txt", tmp_path]) == [a, b]


def test_every_source_that_is_wrong_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path, "corpus.raw", "x")
    with pytest.raises(DataError) as caught:
        find_text_files([tmp_path, tmp_path / "empty", tmp_path / "corpus.row"], ext="txt", flag="--train_dir")
    message = str(caught.value)
    assert len(caught.value.problems) == 3
    assert "no file of this folder ends in .txt" in message and ".raw" in message
    assert "holds no files" in message
    assert "corpus.raw" in message and "--train_dir" in message


def joined(paths, chunk_bytes):
    return [line for chunk in read_chunks(paths, chunk_bytes=chunk_bytes) for line in chunk.lines()]


@given(
    lines=st.lists(
        st.text(
            alphabet=st.characters(exclude_characters="\n\r\ufeff" + CONTROLS.decode(), codec="utf-8"), max_size=30
        ),
        max_size=30,
    ),
    chunk_bytes=st.integers(1, 200),
    ends_with_newline=st.booleans(),
)
def test_chunks_hold_every_line_once_in_order(tmp_path_factory, lines, chunk_bytes, ends_with_newline):
    content = "\n".join(lines) + ("\n" if ends_with_newline else "")
    folder = tmp_path_factory.mktemp("chunks")
    plain = write(folder, "a.txt", content)
    packed = write(folder, "a.txt.gz", gzip.compress(content.encode()))
    expected = content.removesuffix("\n").split("\n") if content else []
    assert joined([plain], chunk_bytes) == expected
    assert list(read_chunks([plain], chunk_bytes=chunk_bytes)) == list(read_chunks([packed], chunk_bytes=chunk_bytes))


def test_line_ends_and_byte_order_mark_are_dropped(tmp_path):
    path = write(tmp_path, "a.txt", b"\xef\xbb\xbfone\r\ntwo\r\n\r\nthree \xc2\x85 \xe2\x80\xa8 four")
    assert joined([path], 1 << 20) == ["one", "two", "", "three \x85 \u2028 four"]


def test_file_starts_are_marked_and_lines_never_run_across_files(tmp_path):
    paths = [write(tmp_path, "a.txt", "one\ntwo"), write(tmp_path, "b.txt", "three\n")]
    chunks = [(chunk.lines(), chunk.starts_file) for chunk in read_chunks(paths)]
    assert chunks == [(["one"], True), (["two"], False), (["three"], True)]


def test_endless_line_is_cut_at_spaces_between_characters_and_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(text_module, "LONGEST_LINE", 64)
    words = "กข " * 60
    path = write(tmp_path, "a.txt", words + "\nnext\n")
    chunks = list(read_chunks([path], chunk_bytes=50))
    assert b"".join(chunk.data for chunk in chunks) == path.read_bytes()
    assert chunks[1].continues and not chunks[0].continues
    assert all(
        line.strip() in ("", "next") or set(line.split()) <= {"กข", "next"} for c in chunks for line in c.lines()
    )
    assert "were cut at spaces" in caplog.text


def test_endless_line_without_spaces_is_cut_between_characters(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "LONGEST_LINE", 64)
    path = write(tmp_path, "a.txt", "ก" * 200)
    assert "".join(joined([path], 50)) == "ก" * 200


def test_chunk_that_is_not_utf8_is_explained_with_its_place(tmp_path):
    good = write(tmp_path, "good.txt", "fine\n")
    empty = write(tmp_path, "empty.txt", "")
    first = write(tmp_path, "first.txt", b"fine\nbroken \xff here\n")
    second = write(tmp_path, "second.txt", b"\xa1\xa2\xa3")
    with pytest.raises(UnicodeDecodeError):
        TextChunk(first.read_bytes()).lines()
    with pytest.raises(DataError) as caught:
        explain_unreadable([good, empty, first, second])
    assert [(problem.path, problem.line) for problem in caught.value.problems] == [(first, 2), (second, 1)]


def test_damaged_gzip_is_told_by_name(tmp_path):
    path = write(tmp_path, "a.txt.gz", gzip.compress(b"text\n" * 1000)[:-20])
    with pytest.raises(DataError, match=r"a\.txt\.gz: the gzip file is damaged"):
        list(read_chunks([path]))


def test_documents_end_at_empty_lines_and_at_the_end_of_a_file(tmp_path):
    paths = [write(tmp_path, "a.txt", "\n\n one \ntwo\n \nthree"), write(tmp_path, "b.txt", "four\n\n")]
    assert list(iterate_documents(paths)) == [["one", "two"], ["three"], ["four"]]


def test_real_corpora(shared_data):
    documents = list(iterate_documents([shared_data / "lm" / "dev_corpus.txt"]))
    assert len(documents) == 17 and sum(map(len, documents)) == 114
    assert len(list(iterate_documents([shared_data / "lm" / "sample_text.txt"]))) == 3
