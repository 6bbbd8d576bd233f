"""What a process and its children took: processor time, and the most memory."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune.run.memory import peak_resident_bytes

LOOK_EVERY = 0.2  # seconds


def cpu_seconds() -> float:
    """Processor time of this process and of its workers that have ended: what a shared machine cannot spoil."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_megabytes(process: int | str = "self") -> float:
    """Most memory that was resident since a process began."""
    return peak_resident_bytes(process) / 2**20


@contextmanager
def watched_children() -> Iterator[dict[int, float]]:
    """Peak resident memory in MB of every child that this process has meanwhile, by its id."""
    peaks: dict[int, float] = {}
    is_done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(peaks, is_done))
    watcher.start()
    try:
        yield peaks
    finally:
        is_done.set()
        watcher.join()


def _watch(peaks: dict[int, float], is_done: threading.Event) -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while not is_done.wait(LOOK_EVERY):
        for child in map(int, children.read_text(encoding="utf-8").split()):
            try:
                peaks[child] = peak_megabytes(child)
            except (OSError, IndexError):  # it has just ended
                continue
