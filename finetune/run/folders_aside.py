"""Temporary folders that outlive no process: each has a lock beside it, by which the next one to make such a folder knows
which were left by killed ones, and removes those and no others.

    temporary_folder        is removed at the end
    files_written_aside     its files are moved into a folder at the end
    folder_written_aside    it becomes the folder of that name at the end
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from finetune.run.atomic_files import LONGEST_PREFIX, SUFFIX, sync_file, sync_folder
from finetune.run.record_lock import SUFFIX as LOCK_SUFFIX
from finetune.run.record_lock import RecordLock

PRIVATE, BY_UMASK = 0o700, 0o777
_ours: set[Path] = set()  # locks of this process, which would not stop it


@contextmanager
def temporary_folder(prefix: str, parent: Path | None = None, *, mode: int = PRIVATE) -> Iterator[Path]:
    """A new folder `<parent>/<prefix><random>.partial`, removed at the end; `parent` is the system's where none is named.

    Raises:
        OSError: it cannot be made.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    parent.mkdir(parents=True, exist_ok=True)
    remove_folders_left(prefix, parent)
    folder = parent / f"{prefix}{secrets.token_hex(4)}{SUFFIX}"
    lock = RecordLock(folder.with_suffix(LOCK_SUFFIX))
    _ours.add(lock.path)
    try:
        _lock_if_possible(lock)
        folder.mkdir(mode=mode)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release(remove=True)
        _ours.discard(lock.path)


def _lock_if_possible(lock: RecordLock) -> None:
    """On a file system without locks what a kill leaves stays, because nobody can tell that it is nobody's."""
    try:
        lock.acquire(wait=True)
    except OSError:
        lock.path.unlink(missing_ok=True)


def remove_folders_left(prefix: str, parent: Path) -> None:
    """Remove the temporary folders of a prefix that killed processes left; those of live ones stay, and other people's."""
    pattern = re.compile(rf"{re.escape(prefix)}[0-9a-f]{{8}}{re.escape(LOCK_SUFFIX)}", re.DOTALL)
    with suppress(OSError):  # no such folder, or one that may not be listed
        with os.scandir(parent) as entries:
            locks = [parent / entry.name for entry in entries if pattern.fullmatch(entry.name)]
        for path in locks:
            if path not in _ours:
                _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    lock = RecordLock(path)
    try:
        is_left = lock.acquire(wait=False)
    except OSError:
        return  # another user's, a link, or no locks here
    if is_left:
        shutil.rmtree(path.with_suffix(SUFFIX), ignore_errors=True)
        lock.release(remove=True)


@contextmanager
def files_written_aside(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files are moved into `folder` at the end, if nothing went wrong.

    What is to be known of them is recorded at the end of the block: a kill may come when some are moved and others not.
    """
    with temporary_folder(".files-", folder) as aside:
        yield aside
        for file in sorted(aside.iterdir()):
            sync_file(file)
            file.replace(folder / file.name)
    sync_folder(folder)


@contextmanager
def folder_written_aside(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder`, which is missing or empty, at the end, if nothing went wrong."""
    with temporary_folder(_prefix_of(folder), folder.parent, mode=BY_UMASK) as aside:
        yield aside
        for file in aside.rglob("*"):
            if file.is_file():
                sync_file(file)
        aside.replace(folder)
    sync_folder(folder.parent)


def clear_aside(folder: Path) -> None:
    """Remove what killed processes left that were writing `folder` aside."""
    remove_folders_left(_prefix_of(folder), folder.parent)


def _prefix_of(folder: Path) -> str:
    return f".{folder.name[:LONGEST_PREFIX]}-"
