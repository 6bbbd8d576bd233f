from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest

from finetune.errors import DataError
from finetune.run import manifest
from finetune.run.manifest import MANIFEST, new_manifest, plain, read_manifest, version_changes, write_json_atomically


def test_values_become_json():
    value = {"a": np.float32(0.5), "b": np.arange(3), "c": (1, {"d": math.nan}), "e": math.inf, 5: None, "f": {"x"}}
    assert plain(value) == {"a": 0.5, "b": [0, 1, 2], "c": [1, {"d": None}], "e": None, "5": None, "f": ["x"]}


def test_a_record_holds_what_is_needed_to_do_it_again():
    record = new_manifest({"seed": 7, "path": "x"}, ["python", "run.py"])
    assert record["seed"] == 7 and record["command"] == ["python", "run.py"] and record["status"] == "running"
    assert {"python", "torch", "transformers"} <= set(record["versions"])
    assert len(record["git_commit"].removesuffix("+changes")) == 40


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / MANIFEST
    write_json_atomically(path, {"a": 1})

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_json_atomically(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == [MANIFEST]


@pytest.mark.parametrize("text", ["{", "[]", '{"status": "done"}', "\x00"])
def test_a_foreign_or_broken_record_is_refused(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(DataError, match=r"run\.json: not .*move it away, or choose another --output_dir"):
        read_manifest(tmp_path)


def test_no_record(tmp_path):
    assert read_manifest(tmp_path) is None


def test_version_changes_name_both():
    now = manifest.library_versions()
    assert version_changes(now) == []
    assert version_changes({**now, "torch": "0.1", "gone": "2"}) == [
        f"torch 0.1 -> {now['torch']}",
        "gone 2 -> missing",
    ]
