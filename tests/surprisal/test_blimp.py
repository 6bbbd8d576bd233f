"""BLiMP's files as published, and broken ones."""

from __future__ import annotations

import pytest

from finetune.errors import DataError
from finetune.surprisal.blimp import read_blimp


def test_the_published_files(shared_data):
    pairs = read_blimp(shared_data / "blimp")
    assert len(pairs) == 12_000
    by_paradigm = {
        name: [pair for pair in pairs if pair.groups["paradigm"] == name]
        for name in {pair.groups["paradigm"] for pair in pairs}
    }
    assert len(by_paradigm) == 12 and {len(members) for members in by_paradigm.values()} == {1000}
    assert all(members[0].facts["pair"] == "0" and members[0].groups["field"] for members in by_paradigm.values())
    equal = [pair.groups["paradigm"] for pair in pairs if pair.good == pair.bad]
    assert equal == ["passive_1", "passive_1"]


def test_broken_lines_are_all_told(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"sentence_good": "x"}\n[]\nno\n', encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_blimp(tmp_path)
    assert [problem.line for problem in error.value.problems] == [1, 2, 3]
    assert "lacks sentence_bad; its keys are sentence_good" in str(error.value.problems[0])


def test_pairs_without_a_paradigm_are_of_their_file(tmp_path):
    (tmp_path / "agreement.jsonl").write_text('{"sentence_good": "x", "sentence_bad": "y"}\n', encoding="utf-8")
    (pair,) = read_blimp(tmp_path)
    assert pair.groups == {"paradigm": "agreement", "field": "none"}


def test_folders_without_pairs(tmp_path):
    (tmp_path / "readme.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match=r"it holds readme\.txt"):
        read_blimp(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        read_blimp(tmp_path / "missing")
