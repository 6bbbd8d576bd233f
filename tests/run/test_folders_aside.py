"""Temporary folders that outlive no process: whole or not there, and what killed processes left goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from finetune.run.folders_aside import clear_aside, files_written_aside, folder_written_aside, temporary_folder

WRITER = """
import sys
from pathlib import Path
from finetune.run.folders_aside import {kind}
with {kind}({arguments}) as aside:
    (aside / "half").write_text("half")
    print("begun", flush=True)
    sys.stdin.readline()
"""
KINDS = {
    "files_written_aside": "Path(sys.argv[1])",
    "folder_written_aside": "Path(sys.argv[1]) / 'model'",
    "temporary_folder": "'finetune-x-', Path(sys.argv[1])",
}


def start_writer(repository, kind, target):
    program = WRITER.format(kind=kind, arguments=KINDS[kind])
    command = [sys.executable, "-c", program, str(target)]
    process = subprocess.Popen(command, cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def begin_again(kind, folder):
    if kind == "files_written_aside":
        return files_written_aside(folder)
    return (
        folder_written_aside(folder / "model")
        if kind == "folder_written_aside"
        else temporary_folder("finetune-x-", folder)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_killed_process_left_goes_and_what_a_live_one_writes_stays(tmp_path, repository, kind):
    killed = start_writer(repository, kind, tmp_path)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    left = set(names(tmp_path))
    assert len(left) == 2
    (tmp_path / "finetune-x-mine.lock").touch()  # of somebody else: no name of ours
    process = start_writer(repository, kind, tmp_path)
    live = set(names(tmp_path)) - {"finetune-x-mine.lock"}
    assert len(live) == 2 and not live & left
    with begin_again(kind, tmp_path):
        assert live <= set(names(tmp_path))
    assert live <= set(names(tmp_path))
    if (tmp_path / "model").is_dir():
        (tmp_path / "model").rmdir()
    process.communicate("\n")
    assert process.returncode == 0
    kept = {"files_written_aside": ["half"], "folder_written_aside": ["model"], "temporary_folder": []}[kind]
    assert names(tmp_path) == ["finetune-x-mine.lock", *kept]


def test_a_link_in_the_place_of_a_leftover_is_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    folder = tmp_path / "all"
    folder.mkdir()
    (folder / "finetune-x-00000000.lock").touch()
    (folder / "finetune-x-00000000.partial").symlink_to(tmp_path / "precious")
    (folder / "finetune-x-11111111.lock").symlink_to(tmp_path / "precious" / "file")
    with temporary_folder("finetune-x-", folder):
        pass
    assert names(tmp_path / "precious") == ["file"]
    assert "finetune-x-11111111.lock" in names(folder)


def test_a_temporary_folder_is_private_and_one_that_stays_is_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        with temporary_folder("a-", tmp_path) as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
        with folder_written_aside(tmp_path / "model") as folder:
            (folder / "file").touch()
        assert (tmp_path / "model").stat().st_mode & 0o777 == 0o750
    finally:
        os.umask(before)


def test_a_folder_comes_whole_or_not_at_all(tmp_path):
    with pytest.raises(ValueError), folder_written_aside(tmp_path / "model") as aside:
        (aside / "file").touch()
        raise ValueError
    assert names(tmp_path) == []
    with folder_written_aside(tmp_path / "model") as aside:
        (aside / "file").touch()
        assert not (tmp_path / "model").exists()
    assert names(tmp_path) == ["model"] and names(tmp_path / "model") == ["file"]
    with pytest.raises(OSError), folder_written_aside(tmp_path / "model"):
        pass  # something is there
    assert names(tmp_path) == ["model"] and names(tmp_path / "model") == ["file"]


def test_what_was_left_goes_though_nothing_is_written_again(tmp_path, repository):
    process = start_writer(repository, "folder_written_aside", tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    clear_aside(tmp_path / "model")
    assert names(tmp_path) == []


def test_files_written_aside_come_together_or_not_at_all(tmp_path):
    with files_written_aside(tmp_path / "folder") as aside:
        (aside / "a").write_text("a")
        (aside / "b").write_text("b")
        assert not (tmp_path / "folder" / "a").exists()
    assert names(tmp_path / "folder") == ["a", "b"]
    with pytest.raises(ValueError), files_written_aside(tmp_path / "folder") as aside:
        (aside / "c").write_text("c")
        raise ValueError
    assert names(tmp_path / "folder") == ["a", "b"]
