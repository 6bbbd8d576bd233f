from __future__ import annotations

import time

import pytest

from finetune.errors import Preempted
from finetune.run.leftovers import list_files
from finetune.run.stop_file import STOP, StopFile


@pytest.fixture
def file(tmp_path, stop):
    watched = StopFile(tmp_path, stop)
    yield watched
    watched.close()


def test_a_stop_file_is_a_signal_and_goes_once_obeyed(file, stop, tmp_path):
    file.watch()
    with pytest.raises(Preempted, match=f"stopped by the file {tmp_path}/STOP;"), stop.deferred():
        (tmp_path / STOP).touch()
        deadline = time.monotonic() + 20
        while not stop.requested and time.monotonic() < deadline:
            time.sleep(0.01)
    assert not (tmp_path / STOP).exists()


def test_outside_of_training_it_ends_the_run_where_it_stands(file, tmp_path):
    file.watch()
    (tmp_path / STOP).touch()
    with pytest.raises(Preempted):
        time.sleep(20)


def test_one_that_waits_for_the_run_is_obeyed_at_once(file, stop, tmp_path):
    (tmp_path / STOP).touch()
    with pytest.raises(Preempted, match="which is removed; run the same command again"):
        file.watch()
    assert not (tmp_path / STOP).exists()


def test_one_that_comes_too_late_does_not_stop_the_next_run(file, stop, tmp_path, caplog):
    file.watch()
    stop.hold()
    file._closed.set()  # it comes after the last look
    (tmp_path / STOP).touch()
    file.close()
    assert not (tmp_path / STOP).exists() and "came when the run had ended" in caplog.text


def test_a_folder_of_that_name_is_no_request(file, tmp_path):
    (tmp_path / STOP).mkdir()
    file.watch()
    time.sleep(1.2)
    file.close()
    assert (tmp_path / STOP).is_dir()


def test_a_link_of_that_name_is_a_request_and_what_it_names_stays(file, tmp_path):
    target = tmp_path / "precious"
    target.write_text("data")
    (tmp_path / STOP).symlink_to(target)
    with pytest.raises(Preempted):
        file.watch()
    assert target.read_text() == "data" and list_files(tmp_path) == ["precious"]


def test_it_is_no_file_of_the_run(tmp_path):
    (tmp_path / STOP).touch()
    (tmp_path / "run.log").touch()
    assert list_files(tmp_path) == ["run.log"]
