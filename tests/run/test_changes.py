from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from finetune.run import changes
from finetune.run.changes import basis_differences, fingerprint_code, named_files, record_basis
from finetune.run.manifest import library_versions


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("data/train.txt", "data/inner/deep.txt", "data/.hidden", "model/config.json", "model/run/old.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_files_are_found_in_values_of_every_shape(place):
    one, two = place / "data/train.txt", place / "model/config.json"
    output = place / "out"
    for value in (str(one), [str(one)], {"train": str(one)}, {"train": [str(one), "rte"]}, one):
        assert named_files({"train_file": value}, output) == {one}, value
    assert named_files({"a": str(one), "b": str(two), "c": 3, "d": None, "e": True}, output) == {one, two}


def test_a_folder_stands_for_the_files_in_it_but_not_below_nor_hidden(place):
    assert named_files({"data_dir": str(place / "data")}, place / "out") == {place / "data/train.txt"}


def test_the_own_output_and_what_arguments_name_as_output_is_no_basis(place):
    assert named_files({"model": str(place / "model/run")}, place / "model/run") == set()
    named = {"log_dir": str(place / "data"), "output_dir": str(place / "data"), "cache_dir": str(place / "data")}
    assert named_files(named, place / "out") == set()


@pytest.mark.parametrize("value", ["", "a\0b", "x" * 5000, "~nouser/x", "2e-5", "/dev/null", "~"])
def test_a_value_that_is_no_readable_path_is_passed_over(place, value):
    assert named_files({"anything": value}, place / "out").isdisjoint({Path("/dev/null")})


def test_every_kind_of_change_is_told(place):
    script, output = place / "script.py", place / "out"
    script.write_text("pass")
    arguments = {"data_dir": str(place / "data"), "model": str(place / "model")}

    def record() -> dict:
        return {"versions": library_versions(), "inputs": {}, **record_basis(arguments, output, script, {})}

    def differences(before: dict) -> str:
        return " / ".join(basis_differences(before, arguments, output, script))

    before = record()
    assert differences(before) == ""
    (place / "data/test.txt").write_text("one more split")
    assert differences(before) == f"{place}/data/test.txt is new"
    before = record()
    (place / "data/test.txt").unlink()
    assert differences(before) == f"{place}/data/test.txt can no longer be read"
    before = record()
    (place / "model/config.json").write_text("other size")
    assert differences(before) == f"{place}/model/config.json has changed since"
    before = record()
    script.write_text("pass  # changed")
    assert differences(before) == "the code of finetune has changed"
    before = {**record(), "versions": {**library_versions(), "torch": "0.1"}}
    assert differences(before).startswith("torch 0.1 -> ")
    assert "is not recorded" in differences({"versions": {}, "arguments": {}})


def test_a_file_that_was_only_touched_has_not_changed(place):
    script, output = place / "script.py", place / "out"
    arguments = {"model": str(place / "model")}
    before = {"versions": library_versions(), **record_basis(arguments, output, script, {})}
    copy = place / "copy"
    shutil.copyfile(place / "model/config.json", copy)
    copy.replace(place / "model/config.json")
    assert basis_differences(before, arguments, output, script) == []


def test_the_code_is_every_source_file_of_the_package(place, monkeypatch):
    monkeypatch.setattr(changes, "PACKAGE", place)
    seen = {fingerprint_code(place / "script.py")}
    for change in ("data/train.txt", "data/inner/deep.txt", "new.py", "kernel.cpp"):
        (place / change).write_text("changed")
        seen.add(fingerprint_code(place / "script.py"))
    (place / "data/train.txt").rename(place / "data/renamed.txt")
    seen.add(fingerprint_code(place / "script.py"))
    assert len(seen) == 6
    (place / "cache.pyc").write_text("compiled")
    assert fingerprint_code(place / "script.py") in seen
