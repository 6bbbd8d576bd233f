"""Work on a stream of items shared out among the processes of one run: results in the order of the items, from the first.

Each process reads the whole stream, works on every so-manieth item, and hands its results on as files in a folder that all
see and that is gone at the end. So the result is that of one process, whatever their number.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count as numbers
from pathlib import Path

from finetune.run.atomic_files import AtomicFile
from finetune.run.engines import Engine, Job, Needs, find_engine
from finetune.run.folders_aside import temporary_folder
from finetune.run.launcher import count_processes, find_rank
from finetune.run.siblings import SECONDS_BETWEEN_LOOKS, Siblings

BEGINNING = "beginning"


@dataclass(frozen=True)
class Shares:
    """The part of one process in a work; item k is that of process k modulo their number."""

    folder: Path
    rank: int
    processes: int

    def begin_with(self, work: Callable[[], bytes]) -> bytes:
        """What the first process makes, for all, who wait for it."""
        path = self.folder / BEGINNING
        if self.rank == 0:
            self._hand_on(path.name, work())
        while not path.exists():  # a process that dies ends this one by its launcher
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return path.read_bytes()

    def work_on(self, job: Job, needs: Needs) -> Iterator[bytes]:
        """The results of all items in order in the first process; the others hand theirs on and yield nothing."""
        own = job.work(item for place, item in enumerate(job.read()) if place % self.processes == self.rank)
        if self.rank == 0:
            yield from self._gather(own)
            return
        for turn, result in enumerate(own):
            self._hand_on(str(self.rank + turn * self.processes), result)
        self._hand_on(self._end_of(self.rank), b"")

    def close(self) -> None:
        """The processes are their launcher's."""

    def _gather(self, own: Iterator[bytes]) -> Iterator[bytes]:
        for place in numbers():
            owner = place % self.processes
            result = next(own, None) if owner == 0 else self._wait_for(place, owner)
            if result is None:
                break
            yield result
        for rank in range(1, self.processes):  # nobody may find the finished output while it still begins
            self._wait_for(-1, rank)

    def _wait_for(self, place: int, owner: int) -> bytes | None:
        """The result of an item; None where there is none. A process that dies ends this one by its launcher."""
        path, end = self.folder / str(place), self.folder / self._end_of(owner)
        while True:
            has_ended = end.exists()  # looked at first: what it handed on is there by then
            if path.exists():
                result = path.read_bytes()
                path.unlink()
                return result
            if has_ended:
                return None
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _end_of(self, rank: int) -> str:
        return f"end-{rank}"

    def _hand_on(self, name: str, content: bytes) -> None:
        with AtomicFile(self.folder / name) as file:
            file.stream.write(content)


@contextmanager
def open_shares(beside: Path | None) -> Iterator[Engine | None]:
    """The share of this process, or the engine that works in its place; None where it is alone.

    `beside` is the output of the work, in a folder that all see.
    """
    if (engine := find_engine()) is not None:
        yield engine
        return
    processes = count_processes()
    siblings = Siblings.from_environment()
    if processes == 1:
        yield None
    elif siblings is not None:
        yield Shares(siblings.folder, find_rank(), processes)
    elif find_rank() == 0:
        parent = None if beside is None else beside.absolute().parent
        with temporary_folder(".finetune-shares-", parent) as folder:
            yield Shares(Path(_agree_on(str(folder))), 0, processes)
    else:
        yield Shares(Path(_agree_on("")), find_rank(), processes)


def _agree_on(folder: str) -> str:
    """What the first process says, in all processes of a launcher that is not ours."""
    import torch

    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    told = [os.fspath(folder)]
    torch.distributed.broadcast_object_list(told, src=0)
    return told[0]
