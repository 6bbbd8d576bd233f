"""One live process per output folder, by a record lock that says who holds it."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

from finetune.errors import LockedError
from finetune.run.manifest import now
from finetune.run.record_lock import RecordLock

LOCK = ".lock"


class FolderLock:
    """Holds `<folder>/.lock` from `acquire()` to `release()` or the end of the process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LOCK
        self._lock = RecordLock(self.path)

    def acquire(self) -> None:
        """Take the lock, making the folder's lock file where it is missing.

        Raises:
            LockedError: another live process holds it; it names process, host and since when.
            OSError: the folder cannot be written.
        """
        if not self._lock.acquire(wait=False):
            raise LockedError(self.folder, _describe_holder(self.path))
        holder = {"pid": os.getpid(), "host": platform.node(), "since": now()}
        self._lock.write(json.dumps(holder).encode())

    def is_there(self) -> bool:
        """Whether the folder still holds our lock file: False once somebody has removed or replaced it."""
        return self._lock.is_there()

    def release(self) -> None:
        """Give the folder free; the lock file goes too."""
        self._lock.release(remove=True)


def _describe_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_bytes())
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
