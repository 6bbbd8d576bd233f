from __future__ import annotations

import pytest

from finetune.run.leftovers import list_files, remove_files, written_by_run


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "out"
    for name in ("config.json", "checkpoint-5/model.bin", "eval/run.json", "eval/metrics.json", ".lock", "notes.txt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def test_files_of_a_run_inside_are_not_of_this_run(folder):
    assert list_files(folder) == ["checkpoint-5/model.bin", "config.json", "notes.txt"]


def test_a_run_left_what_it_listed_and_what_a_kill_kept_it_from_listing(folder):
    assert written_by_run(folder, ["config.json", "gone.txt"], []) == ["checkpoint-5/model.bin", "config.json"]
    assert written_by_run(folder, ["config.json"], ["config.json"]) == ["checkpoint-5/model.bin"]


def test_only_the_named_files_go_and_the_folders_this_empties(folder):
    assert remove_files(folder, ["checkpoint-5/model.bin", "config.json", "missing"]) == 2
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "eval", "notes.txt"]


def test_names_that_lead_out_of_the_folder_are_left_alone(folder, tmp_path):
    outside = tmp_path / "precious.txt"
    outside.write_text("x")
    (folder / "link").symlink_to(tmp_path)
    assert remove_files(folder, ["../precious.txt", str(outside), "link/precious.txt"]) == 0
    assert outside.exists()


def test_a_link_goes_and_what_it_points_at_stays(folder, tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    (folder / "link").symlink_to(tmp_path / "precious.txt")
    assert "link" in list_files(folder)
    assert remove_files(folder, ["link"]) == 1
    assert (tmp_path / "precious.txt").exists() and not (folder / "link").is_symlink()
