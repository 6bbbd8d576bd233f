"""Marks of SEFR CUT (with a stand-in for the package, which brings TensorFlow), and old caches read safely."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import DataError, UsageError
from finetune.tokenization import sefr
from finetune.tokenization.sefr import SefrCutter, mark_file, mark_line, read_pickled_cache, require_sefr_cut


@pytest.fixture
def stand_in(monkeypatch) -> ModuleType:
    """A module of the package's name and interface that cuts before every capital letter and space."""
    module = ModuleType("sefr_cut")

    def tokenize(text: str) -> list[list[str]]:
        print("a bar for every text")
        words = [""]
        for letter in text:
            words += [letter] if letter.isupper() or letter == " " or words[-1] == " " else []
            words[-1] += "" if words[-1] == letter else letter
        return [[word for word in words if word]]

    module.load_model = lambda engine: None
    module.tokenize = tokenize
    monkeypatch.setitem(sys.modules, "sefr_cut", module)
    monkeypatch.setattr(sefr, "_loaded", {})
    return module


def test_a_line_with_marks():
    assert mark_line("hello world", lambda text: text.partition(" ")) == "hello<|><_><|>world"
    assert mark_line("ab<_>c</s>", list) == "a<|>b<|><_><|>c<|></s>"
    assert mark_line("a b", lambda text: [text]) == "a<|><_><|>b"


@given(st.lists(st.sampled_from(["ก", "ข ", " ", "<_>", "<s>", "\n", "ab"])).map("".join))
def test_marks_change_nothing_else(line):
    marked = mark_line(line, list)
    assert marked.replace("<|>", "") == line.replace(" ", "<_>")
    assert "<|><|>" not in marked


def test_a_file_is_marked_line_by_line(stand_in, tmp_path: Path, capsys):
    source, target = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_text("OneTwo Three\n\n  Four  \n", encoding="utf-8")
    marked = mark_file(source, target, chunk_size=1, workers=1)
    assert target.read_text(encoding="utf-8") == "One<|>Two<|><_><|>Three\nFour\n"
    assert (marked.lines, marked.unmarked) == (2, 0)
    assert capsys.readouterr().out == ""


def test_lines_that_would_be_changed_stay_unmarked(stand_in, tmp_path: Path, caplog):
    stand_in.tokenize = lambda text: [[text.lower(), "!"]]
    assert SefrCutter()(["A B"]) == (["A<_>B"], 1)
    (tmp_path / "a.txt").write_text("A B\n", encoding="utf-8")
    mark_file(tmp_path / "a.txt", tmp_path / "b.txt", chunk_size=5, workers=1)
    assert "1 of 1 lines stay unmarked" in caplog.text


def test_the_package_is_named_where_it_is_missing():
    if "sefr_cut" in sys.modules:
        pytest.skip("sefr_cut is installed")
    with pytest.raises(UsageError, match=r"package sefr_cut is not installed; install it with: pip install sefr_cut"):
        require_sefr_cut()


class Harmful:
    def __reduce__(self):
        return os.mkdir, (HARM,)


HARM = "/tmp/a-pickle-was-run"


def test_old_caches_are_read_without_running_them(tmp_path: Path):
    path = tmp_path / "sefr_cache_tokenizer_dict.pkl"
    cache = {"ต่าง<_>ๆ": ["ต่าง", "<_>", "ๆ"], "กิน": ["กิน"]}
    path.write_bytes(pickle.dumps(cache))
    assert read_pickled_cache(path) == cache
    path.write_bytes(pickle.dumps({"a": Harmful()}))
    with pytest.raises(DataError, match=r"cannot be read as a plain dictionary \(it refers to posix.mkdir\)"):
        read_pickled_cache(path)
    assert not Path(HARM).exists()


@pytest.mark.parametrize(
    "content", [b"", b"not a pickle", pickle.dumps(["a"]), pickle.dumps({"a": "b"}), pickle.dumps({1: []})]
)
def test_other_files_are_no_caches(content, tmp_path: Path):
    path = tmp_path / "cache.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match="dictionary"):
        read_pickled_cache(path)
    with pytest.raises(DataError, match="no such file"):
        read_pickled_cache(tmp_path / "nowhere.pkl")
