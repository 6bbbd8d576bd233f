"""Files that are whole or not there: written aside in their folder, flushed to the disk, then renamed.

A reader sees the old file or the new one, whenever a process is killed or the disk is full. What a killed process leaves
is called `.<name>.<random>.partial`; a live writer holds a lock on its own, so that the next one to write the same name
(or `remove_leftovers`) knows which are nobody's, and removes those.
"""

from __future__ import annotations

import glob
import io
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from finetune.run.record_lock import is_named, try_lock

SUFFIX = ".partial"
LONGEST_PREFIX = 40  # characters of a name, of up to four bytes each: the whole must fit the 255 bytes of a file name
PATTERN = re.compile(rf"\..{{1,{LONGEST_PREFIX}}}\.[0-9a-f]{{8}}\.partial", re.DOTALL)
FOLDER_ASIDE = ".partial-"
_ours: set[Path] = set()  # written by this process now: its own locks would not stop it


class AtomicFile:
    """A file that gets its name when it is whole; left by an exception, it leaves the old one as it was.

    >>> with AtomicFile(folder / "table.csv") as file:
    ...     file.stream.write(b"...")

    Outside of `with`, `commit` or `discard` ends it. `path` may be changed until then. What is no regular file
    (/dev/stdout, a pipe) is written in place. `before_naming` is called with the path of the whole file before it gets
    its name.
    """

    def __init__(self, path: Path, *, before_naming: Callable[[Path], None] | None = None) -> None:
        self.path = path
        self._before_naming = before_naming
        path.parent.mkdir(parents=True, exist_ok=True)
        self._is_device = _is_device(path)
        self._aside = path
        self.stream: io.BufferedRandom
        if self._is_device:
            self.stream = cast(io.BufferedRandom, path.open("wb"))  # that of a pipe is written alone
            return
        prefix = f".{path.name[:LONGEST_PREFIX]}."
        remove_leftovers(path.parent, prefix)
        self._aside, self.stream = _create(path.parent, prefix)
        _ours.add(self._aside)

    def commit(self) -> None:
        """Give the file its name.

        Raises:
            OSError: the disk is full, or a folder has that name; nothing is left then.
        """
        if self._is_device:
            self.stream.close()
            return
        try:
            self.stream.flush()
            os.fsync(self.stream.fileno())
            if self._before_naming is not None:
                self._before_naming(self._aside)
            self._aside.replace(self.path)
        except BaseException:
            self.discard()
            raise
        self._close()
        sync_folder(self.path.parent)

    def discard(self) -> None:
        """Leave no new file. Does nothing after `commit`."""
        if self.stream.closed:
            return
        if not self._is_device:
            self._aside.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        _ours.discard(self._aside)
        self.stream.close()

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


@contextmanager
def atomic_text_file(
    path: Path, *, errors: str = "strict", before_naming: Callable[[Path], None] | None = None
) -> Iterator[IO[str]]:
    """UTF-8 text, line ends as they are written, whole or not at all; the folder is made where it is missing."""
    with AtomicFile(path, before_naming=before_naming) as file:
        text = io.TextIOWrapper(file.stream, encoding="utf-8", errors=errors, newline="")
        try:
            yield text
            text.flush()
        finally:
            text.detach()


def _is_device(path: Path) -> bool:
    """Whether a path exists and is no file to be replaced: a device, a pipe, or anything under /dev."""
    return path.exists() and (not (path.is_file() or path.is_dir()) or Path("/dev") in path.absolute().parents)


def _create(folder: Path, prefix: str) -> tuple[Path, io.BufferedRandom]:
    """A new file of a random name, locked where the file system has locks; a link of that name is not followed."""
    while True:
        path = folder / f"{prefix}{secrets.token_hex(4)}{SUFFIX}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except FileExistsError:
            continue
        _lock_if_possible(descriptor)
        if is_named(descriptor, path):
            return path, os.fdopen(descriptor, "w+b")
        os.close(descriptor)  # another process took it for a leftover between our making and locking it


def _lock_if_possible(descriptor: int) -> None:
    try:
        try_lock(descriptor, wait=True)
    except OSError:
        return  # a file system without locks: leftovers stay, because nobody can lock them either


def remove_leftovers(folder: Path, prefix: str = ".") -> list[Path]:
    """Remove the files that killed writers left in a folder (not below it); returns them. Those of live ones stay."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        named = [entry for entry in entries if entry.name.startswith(prefix) and PATTERN.fullmatch(entry.name)]
        found = [folder / entry.name for entry in named if entry.is_file(follow_symlinks=False)]
    return [path for path in found if path not in _ours and _remove_if_left(path)]


def _remove_if_left(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False  # gone meanwhile, or another user's
    try:
        if not try_lock(descriptor, wait=False) or not is_named(descriptor, path):
            return False
        path.unlink()
    except OSError:
        return False  # no locks here: it may be somebody's
    finally:
        os.close(descriptor)
    return True


def make_folder_aside(folder: Path) -> Path:
    """An empty folder beside `folder`, whose place it takes by `name_folder` when it is whole.

    The caller holds the lock of `folder` (`record_lock.only_one_prepares`): what killed processes left is removed.
    """
    for leftover in folder.parent.glob(f"{glob.escape(folder.name)}{FOLDER_ASIDE}*"):
        shutil.rmtree(leftover)
    aside = folder.with_name(f"{folder.name}{FOLDER_ASIDE}{os.getpid()}")
    aside.mkdir(parents=True)
    return aside


def name_folder(aside: Path, folder: Path) -> None:
    """Everything in `aside` is brought to the disk, then it takes the name, in the place of what may have it."""
    for file in aside.iterdir():
        sync_file(file)
    if folder.exists():
        shutil.rmtree(folder)
    aside.rename(folder)
    sync_folder(folder.parent)


def sync_file(path: Path) -> None:
    """Bring a file to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
