from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from finetune.run.atomic_files import AtomicFile, atomic_text_file, remove_leftovers

WRITER = """
import os, signal, sys, time
from pathlib import Path
from finetune.run.atomic_files import AtomicFile
file = AtomicFile(Path(sys.argv[1]))
file.stream.write(b"half")
file.stream.flush()
print("begun", flush=True)
sys.stdin.readline()
file.commit()
"""


def start_writer(repository, program, target):
    command = [sys.executable, "-c", program, str(target)]
    process = subprocess.Popen(command, cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_reader_sees_the_old_content_until_the_new_is_whole(tmp_path):
    path = tmp_path / "new" / "file"
    for content in (b"first", b"second"):
        before = path.read_bytes() if path.exists() else None
        with AtomicFile(path) as file:
            file.stream.write(content)
            assert (path.read_bytes() if path.exists() else None) == before
        assert path.read_bytes() == content and names(path.parent) == ["file"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("bad"), KeyboardInterrupt()])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, error):
    (tmp_path / "file").write_text("old")
    with pytest.raises(type(error)), AtomicFile(tmp_path / "file") as file:
        file.stream.write(b"half")
        raise error
    assert (tmp_path / "file").read_text() == "old" and names(tmp_path) == ["file"]


def test_a_full_disk_at_the_end_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("old")

    def fail(_):
        raise OSError(28, "No space left on device")

    file = AtomicFile(tmp_path / "file")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        file.commit()
    file.discard()
    assert (tmp_path / "file").read_text() == "old" and names(tmp_path) == ["file"]


def test_text_is_utf8_with_the_line_ends_that_were_written(tmp_path):
    with atomic_text_file(tmp_path / "file") as file:
        file.write("ä\r\nไทย\n")
    assert (tmp_path / "file").read_bytes() == "ä\r\nไทย\n".encode()
    with pytest.raises(UnicodeEncodeError), atomic_text_file(tmp_path / "file") as file:
        file.write("\udce4")
    assert (tmp_path / "file").read_bytes() == "ä\r\nไทย\n".encode() and names(tmp_path) == ["file"]


def test_the_mode_is_that_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with AtomicFile(tmp_path / "file"):
        pass
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "file").symlink_to(tmp_path / "precious")
    with AtomicFile(tmp_path / "file") as file:
        file.stream.write(b"new")
    assert (tmp_path / "precious").read_text() == "mine" and not (tmp_path / "file").is_symlink()


def test_a_link_with_the_random_name_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "precious").write_text("mine")
    drawn = iter(["00000000", "11111111"])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(drawn))
    (tmp_path / ".file.00000000.partial").symlink_to(tmp_path / "precious")
    with AtomicFile(tmp_path / "file") as file:
        file.stream.write(b"new")
    assert (tmp_path / "precious").read_text() == "mine" and (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("name", ["x" * 255, "ไ" * 85])
def test_the_longest_name_that_a_file_can_have(tmp_path, name):
    with AtomicFile(tmp_path / name) as file:
        file.stream.write(b"new")
    assert names(tmp_path) == [name]


def test_what_is_no_regular_file_is_written_in_place(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    with AtomicFile(tmp_path / "pipe") as file:
        file.stream.write(b"row\n")
    reader.join()
    assert read == [b"row\n"] and (tmp_path / "pipe").is_fifo()
    with AtomicFile(Path("/dev/null")) as file:
        file.stream.write(b"row\n")
    assert Path("/dev/null").is_char_device()


def test_a_folder_of_that_name_is_left_alone(tmp_path):
    (tmp_path / "file").mkdir()
    file = AtomicFile(tmp_path / "file")
    with pytest.raises(IsADirectoryError):
        file.commit()
    assert names(tmp_path) == ["file"]


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path, repository):
    kill(start_writer(repository, WRITER, tmp_path / "file"))
    left = names(tmp_path)
    assert len(left) == 1 and left[0].startswith(".file.")
    with AtomicFile(tmp_path / "other"):
        assert left[0] in names(tmp_path)  # another name's
    with AtomicFile(tmp_path / "file"):
        assert left[0] not in names(tmp_path)
    assert names(tmp_path) == ["file", "other"]


def test_leftovers_of_any_name_are_removed_and_nothing_else(tmp_path, repository):
    kill(start_writer(repository, WRITER, tmp_path / "file"))
    for name in (".env", ".file.partial", "file.00000000.partial", ".cache"):
        (tmp_path / name).touch()
    (tmp_path / ".link.00000000.partial").symlink_to(tmp_path / ".env")
    kept = [name for name in names(tmp_path) if not name.startswith(".file.") or name == ".file.partial"]
    assert len(remove_leftovers(tmp_path)) == 1
    assert names(tmp_path) == kept
    assert remove_leftovers(tmp_path / "missing") == []


def test_a_live_writer_keeps_its_file(tmp_path, repository):
    process = start_writer(repository, WRITER, tmp_path / "file")
    with AtomicFile(tmp_path / "file") as own:  # the one who is later wins
        own.stream.write(b"own")
        assert remove_leftovers(tmp_path) == []
    process.communicate("\n")
    assert process.returncode == 0
    assert (tmp_path / "file").read_bytes() == b"half" and names(tmp_path) == ["file"]
