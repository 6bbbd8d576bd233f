from __future__ import annotations

import json

import pytest

from finetune.run.checkpoints import MARKER, list_checkpoints, mark_complete, newest_whole, set_broken_aside, why_broken


@pytest.fixture
def make_checkpoint(tmp_path):
    def make(step: int, *, whole: bool = True):
        folder = tmp_path / f"checkpoint-{step}"
        (folder / "sub").mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"x" * step)
        (folder / "sub" / "optimizer.pt").write_bytes(b"y")
        if whole:
            mark_complete(folder)
        return folder

    return make


def test_the_newest_whole_checkpoint_by_number_not_by_name(tmp_path, make_checkpoint):
    make_checkpoint(900)
    newest = make_checkpoint(1000)
    make_checkpoint(1100, whole=False)
    assert newest_whole(tmp_path) == newest
    assert [folder.name for folder in list_checkpoints(tmp_path)] == [
        f"checkpoint-{step}" for step in (900, 1000, 1100)
    ]


def test_other_names_are_no_checkpoints(tmp_path):
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-5").write_text("a file")
    assert list_checkpoints(tmp_path) == [] and newest_whole(tmp_path) is None


def truncate(folder):
    (folder / "model.safetensors").write_bytes(b"x")


def remove(folder):
    (folder / "sub" / "optimizer.pt").unlink()


def unmark(folder):
    (folder / MARKER).unlink()


def garble(folder):
    (folder / MARKER).write_text('{"model')


def empty(folder):
    (folder / MARKER).write_text("{}")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "model.safetensors has 1 bytes instead of 1,200"),
        (remove, "sub/optimizer.pt is missing"),
        (unmark, "saving it was cut off"),
        (garble, "its marker complete.json is unreadable"),
        (empty, "its marker complete.json names no files"),
    ],
)
def test_damage_is_found_named_and_set_aside(tmp_path, make_checkpoint, caplog, damage, reason):
    whole, broken = make_checkpoint(600), make_checkpoint(1200)
    damage(broken)
    assert reason in why_broken(broken)
    assert newest_whole(tmp_path) == whole
    assert set_broken_aside(tmp_path) == [tmp_path / "checkpoint-1200.broken"]
    assert f"checkpoint-1200 is not whole ({reason}" in caplog.text and "checkpoint-1200.broken" in caplog.text
    assert not broken.exists() and whole.exists()


def test_a_second_broken_one_of_a_name_gets_another(tmp_path, make_checkpoint):
    for _ in range(2):
        make_checkpoint(5, whole=False)
        set_broken_aside(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-5.broken", "checkpoint-5.broken.2"]


def test_the_marker_names_every_file_with_its_size(make_checkpoint):
    folder = make_checkpoint(3)
    assert json.loads((folder / MARKER).read_text()) == {"model.safetensors": 3, "sub/optimizer.pt": 1}
    mark_complete(folder)  # again, after a resumed run saved into it
    assert why_broken(folder) is None
