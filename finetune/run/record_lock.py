"""The lock between processes, everywhere in finetune: a POSIX record lock on a file.

The kernel frees a POSIX record lock when its owner dies, however it dies, and forked data loader workers do not hold it on
(an `flock` they would). The price: the lock goes when *any* descriptor of the file is closed in the owning process, so
nothing else may open a lock file while it is held.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)

SUFFIX = ".lock"


class RecordLock:
    """The lock on a file, which is made where it is missing. A process that holds it gets it again: not for threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, wait: bool) -> bool:
        """Take the lock; without `wait` the answer is False where another process holds it.

        Raises:
            OSError: the file cannot be made, or its file system has no locks; or it is a link.
        """
        while self._descriptor is None:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                is_ours = try_lock(descriptor, wait=wait) and is_named(descriptor, self.path)
            except BaseException:
                os.close(descriptor)
                raise
            if is_ours:
                self._descriptor = descriptor
                continue
            is_held = is_named(descriptor, self.path)
            os.close(descriptor)  # of another's lock, or of a file that its last owner removed before we had locked it
            if is_held and not wait:
                return False
        return True

    def is_there(self) -> bool:
        """Whether the file that we have locked still has its name."""
        return self._descriptor is not None and is_named(self._descriptor, self.path)

    def write(self, content: bytes) -> None:
        """Say in the file who holds it."""
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)

    def release(self, *, remove: bool = False) -> None:
        """Give the lock free, and remove its file if asked; without a lock nothing happens.

        A file that cannot be removed stays, which is said: nobody holds it, and the next one to lock it removes it.
        """
        if self._descriptor is None:
            return
        if remove:
            self._remove()
        os.close(self._descriptor)
        self._descriptor = None

    def _remove(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s cannot be removed (%s); it stays, and locks nothing.", self.path, error.strerror)


def try_lock(descriptor: int, *, wait: bool, byte: int | None = None) -> bool:
    """Lock an open file, or one byte of it; False where another process holds it."""
    length, start = (0, 0) if byte is None else (1, byte)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), length, start)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def is_named(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


@contextmanager
def only_one_prepares(folder: Path) -> Iterator[None]:
    """Hold the lock beside a folder that may have to be made; another process that wants it waits, then finds it made."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = RecordLock(folder.with_name(folder.name + SUFFIX))
    if not lock.acquire(wait=False):
        logger.info("Another process is preparing %s: waiting for it.", folder)
        lock.acquire(wait=True)
    try:
        yield
    finally:
        lock.release(remove=True)
