"""One live process per output folder, by a POSIX record lock.

The kernel frees a record lock when its owner dies, however it dies, and forked data loader workers do not hold it on
(an `flock` they would). The price: the lock goes when *any* descriptor of the file is closed in the owning process, so
nothing else may open `.lock` while a run is on.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
from pathlib import Path

from finetune.errors import LockedError
from finetune.run.manifest import now

LOCK = ".lock"


class FolderLock:
    """Holds `<folder>/.lock` from `acquire()` to `release()` or the end of the process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LOCK
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, making the folder's lock file where it is missing.

        Raises:
            LockedError: another live process holds it; it names process, host and since when.
            OSError: the folder cannot be written.
        """
        while self._descriptor is None:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._lock_or_refuse(descriptor)
            if self._is_current(descriptor):
                self._descriptor = descriptor
            else:  # its last owner removed the file between our opening and locking it
                os.close(descriptor)
        holder = {"pid": os.getpid(), "host": platform.node(), "since": now()}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(holder).encode(), 0)

    def _lock_or_refuse(self, descriptor: int) -> None:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _describe_holder(os.pread(descriptor, 1000, 0))
            os.close(descriptor)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise LockedError(self.folder, holder) from error

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the folder free; the lock file goes too."""
        if self._descriptor is None:
            return
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None


def _describe_holder(content: bytes) -> str:
    try:
        holder = json.loads(content)
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
