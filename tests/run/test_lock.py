from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from unittest.mock import Mock

import pytest

from finetune.errors import LockedError
from finetune.run.lock import LOCK, FolderLock

HOLDER = """
import sys, time
from pathlib import Path
from finetune.run.lock import FolderLock
FolderLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path, repository):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=repository
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_another_process_is_refused_and_told_who_holds_it(tmp_path, holder):
    with pytest.raises(LockedError, match=rf"is in use by process {holder.pid} on .* since 20") as caught:
        FolderLock(tmp_path).acquire()
    assert caught.value.exit_code == 4


def test_the_kernel_frees_the_lock_of_a_killed_process(tmp_path, holder):
    holder.kill()
    holder.wait()
    lock = FolderLock(tmp_path)
    lock.acquire()
    lock.release()


def test_a_released_lock_leaves_no_file_and_can_be_taken_again(tmp_path):
    lock = FolderLock(tmp_path)
    for _ in range(2):
        lock.acquire()
        assert (tmp_path / LOCK).exists()
        lock.release()
        assert not (tmp_path / LOCK).exists()
    lock.release()


def test_a_lock_file_that_cannot_be_removed_is_said_and_stays(tmp_path, monkeypatch, caplog):
    lock = FolderLock(tmp_path)
    lock.acquire()
    with monkeypatch.context() as context:
        context.setattr(type(tmp_path), "unlink", Mock(side_effect=OSError(5, "Input/output error")))
        lock.release()
    assert "cannot be removed (Input/output error)" in caplog.text
    lock.acquire()
    lock.release()
    assert not (tmp_path / LOCK).exists()


def test_a_forked_worker_does_not_hold_the_lock_on(tmp_path, repository):
    """flock would: the worker inherits the open file."""
    lock = FolderLock(tmp_path)
    lock.acquire()
    release = multiprocessing.get_context("fork").Event()
    worker = multiprocessing.get_context("fork").Process(target=release.wait)
    worker.start()
    lock.release()
    other = HOLDER.replace("time.sleep(60)", "")
    command = [sys.executable, "-c", other, str(tmp_path)]
    done = subprocess.run(command, cwd=repository, check=False, capture_output=True, text=True)
    release.set()
    worker.join()
    assert done.returncode == 0, done.stderr


def test_a_lock_file_that_was_removed_meanwhile_is_not_taken_for_the_current_one(tmp_path, monkeypatch):
    """Its last owner may remove the file between our opening and locking it."""
    (tmp_path / LOCK).touch()
    opened = []
    real_open = os.open

    def open_then_remove_once(path, *rest):
        descriptor = real_open(path, *rest)
        if not opened:
            path.unlink()
        opened.append(descriptor)
        return descriptor

    monkeypatch.setattr(os, "open", open_then_remove_once)
    lock = FolderLock(tmp_path)
    lock.acquire()
    assert len(opened) == 2 and (tmp_path / LOCK).exists()
    lock.release()
