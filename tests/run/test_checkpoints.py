from __future__ import annotations

import json

import pytest
import xxhash

from finetune.run.checkpoints import (
    MARKER,
    list_checkpoints,
    make_way,
    mark_complete,
    newest_whole,
    remove_outlived,
    restore_replaced,
    set_broken_aside,
    why_broken,
)


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


def test_the_marker_names_every_file_with_its_size_and_checksum(make_checkpoint):
    folder = make_checkpoint(3)
    facts = json.loads((folder / MARKER).read_text())
    assert {name: fact["bytes"] for name, fact in facts.items()} == {"model.safetensors": 3, "sub/optimizer.pt": 1}
    for name, fact in facts.items():
        assert fact["xxh3"] == xxhash.xxh3_128_hexdigest((folder / name).read_bytes())
    mark_complete(folder)  # again, after a resumed run saved into it
    assert why_broken(folder) is None


@pytest.mark.parametrize("name", ["model.safetensors", "sub/optimizer.pt"])
@pytest.mark.parametrize("damage", ["zeros", "one bit"])
def test_damage_that_keeps_the_size_is_found(tmp_path, make_checkpoint, caplog, name, damage):
    older, newest = make_checkpoint(3), make_checkpoint(6)
    whole = (newest / name).read_bytes()
    (newest / name).write_bytes(bytes(len(whole)) if damage == "zeros" else bytes([whole[0] ^ 16]) + whole[1:])
    assert newest_whole(tmp_path) == older
    set_broken_aside(tmp_path)
    assert f"checkpoint-6 is not whole ({name} is damaged" in caplog.text


@pytest.mark.parametrize(
    "marker", ["", "[]", "{}", "{", "[" * 100_000, '{"model.safetensors": "3"}', "\0\0", '{"a": 1e999}']
)
def test_a_damaged_marker_is_no_marker(tmp_path, make_checkpoint, marker):
    older, newest = make_checkpoint(3), make_checkpoint(6)
    (newest / MARKER).write_text(marker)
    assert newest_whole(tmp_path) == older


def test_markers_of_earlier_versions_hold_sizes_alone(tmp_path, make_checkpoint):
    folder = make_checkpoint(3)
    (folder / MARKER).write_text('{"model.safetensors": 3, "sub/optimizer.pt": 1}')
    assert newest_whole(tmp_path) == folder


def test_a_checkpoint_is_replaced_only_by_a_whole_one(tmp_path, make_checkpoint):
    make_checkpoint(3)
    make_way(tmp_path / "checkpoint-3")
    assert newest_whole(tmp_path) == tmp_path / "checkpoint-3"  # by the name that it will have again
    make_checkpoint(3, whole=False)
    set_broken_aside(tmp_path)
    assert restore_replaced(tmp_path) == [tmp_path / "checkpoint-3"] and why_broken(tmp_path / "checkpoint-3") is None


def test_what_was_outlived_goes_and_nothing_else(tmp_path, make_checkpoint):
    make_way(make_checkpoint(3))
    kept = {
        make_checkpoint(3),
        make_checkpoint(9),
        make_checkpoint(5, whole=False).rename(tmp_path / "checkpoint-5.broken"),
    }
    make_checkpoint(6).rename(tmp_path / "checkpoint-6.deleted")
    (tmp_path / "checkpoint-7.deleted").symlink_to(tmp_path / "checkpoint-9")
    assert {path.name for path in remove_outlived(tmp_path)} == {"checkpoint-3.replaced", "checkpoint-6.deleted"}
    assert set(tmp_path.iterdir()) == kept | {tmp_path / "checkpoint-7.deleted"}


def test_without_its_best_checkpoint_a_newer_one_is_of_no_use(tmp_path, make_checkpoint, caplog):
    oldest = make_checkpoint(2)
    best, newest = make_checkpoint(4), make_checkpoint(6)
    state = {"best_model_checkpoint": "elsewhere/checkpoint-4", "global_step": 6}
    (newest / "trainer_state.json").write_text(json.dumps(state))
    mark_complete(newest)
    assert newest_whole(tmp_path) == newest
    (best / "model.safetensors").write_bytes(b"xyz")
    assert newest_whole(tmp_path) == oldest
    assert "checkpoint-6 is passed over: checkpoint-4, the best before it, is gone or damaged" in caplog.text
