"""Gradients of processes on one machine's processor, summed in memory that they share instead of sent over sockets.

DistributedDataParallel sends gradients by gloo, through the network of the machine itself: each byte is copied into the
kernel and out of it, by threads that take processor time from the training. Here every process lays a piece of its gradients
into shared memory, sums one part of the piece over all processes, and takes the sums of all parts. They are added in the
order of the processes, so all get the same bits.

It is DistributedDataParallel's own extension point, a communication hook, which accelerate registers where it wraps a model.
"""

# No `from __future__ import annotations` here: torch compares the types of a hook, not their text.
import logging
import mmap
import os
import platform
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType
from torch import Tensor

from finetune.run.failures import PROCESS_ENDED
from finetune.run.record_lock import try_lock

logger = logging.getLogger(__name__)

SHARED_FOLDER = Path("/dev/shm")
PIECE = 1 << 21  # bytes that a process lays down at once: small enough to stay in the cache until they are summed
LINE = 64  # bytes between two counters, so that no two share a line of the cache
TOKEN = 16  # bytes by which all know that they see the same memory
SPINS = 300  # looks before a process sleeps between them
NAP = 5e-5  # seconds
SECONDS_TO_DOUBT = 1.0  # of waiting, until it is asked whether the others are alive


@dataclass
class SharedSums:
    """The memory of one process group: a token, a counter for each process, a piece for each, and one for the sums."""

    file: int  # stays open: each process holds a lock on a byte of it for as long as it lives
    rank: int
    counters: npt.NDArray[np.int64]  # (processes,): how many meetings each has come to
    pieces: Tensor  # (processes + 1, bytes), uint8

    @property
    def processes(self) -> int:
        return len(self.counters)

    def average(self, values: Tensor) -> Tensor:
        """Replace `values`, one dimension and contiguous, by their mean over all processes.

        Raises:
            RuntimeError: another process has ended.
        """
        size = self.pieces.shape[1] // values.element_size()
        pieces = self.pieces.view(values.dtype)
        for piece in values.split(size):
            length = len(piece)
            pieces[self.rank, :length].copy_(piece)
            self.meet()
            first, last = (length * rank // self.processes for rank in (self.rank, self.rank + 1))
            self._sum(pieces[:, first:last])
            self.meet()
            piece.copy_(pieces[-1, :length])
        return values

    def _sum(self, pieces: Tensor) -> None:
        total = torch.add(pieces[0], pieces[1], out=pieces[-1])
        for other in pieces[2:-1]:
            total.add_(other)
        total.div_(self.processes)

    def meet(self) -> None:
        """Wait until all processes have come as far.

        A process writes its counter alone, behind what it has laid down: x86 lets others see writes in their order.
        """
        self.counters[self.rank] += 1
        own, looks, asked = self.counters[self.rank], 0, time.monotonic()
        while self.counters.min() < own:
            looks += 1
            if looks < SPINS:
                os.sched_yield()
                continue
            time.sleep(NAP)
            if time.monotonic() - asked > SECONDS_TO_DOUBT:
                self._require_all_alive()
                asked = time.monotonic()

    def _require_all_alive(self) -> None:
        for other in range(self.processes):
            if other != self.rank and try_lock(self.file, wait=False, byte=other):
                raise RuntimeError(f"process {other} {PROCESS_ENDED}")


def share_sums() -> SharedSums | str:
    """Memory that all processes of the default group see, or why there is none; all get one, or none does."""
    rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
    if (machine := platform.machine()) not in ("x86_64", "AMD64"):
        return f"made for x86-64, not {machine}"
    told: list[Any] = [_make_file(processes) if rank == 0 else None]
    torch.distributed.broadcast_object_list(told, src=0)
    path, token, reason = told[0]
    sums = None if reason else _open(path, token, rank, processes)
    found: list[Any] = [None] * processes
    torch.distributed.all_gather_object(found, sums is not None)
    if rank == 0:
        path.unlink(missing_ok=True)  # it lives on until the last process has closed it
    if sums is not None and all(found):
        return sums
    return reason or "the processes do not see the same memory"


def _make_file(processes: int) -> tuple[Path, bytes, str | None]:
    """Path and token of a new file, or why there is none."""
    path, token = SHARED_FOLDER / f"finetune-gradients-{secrets.token_hex(8)}", secrets.token_bytes(TOKEN)
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(file, 0, _size(processes))  # a file that grows as it is written can end a process
            os.write(file, token)
        finally:
            os.close(file)
    except OSError as error:
        return path, token, f"{SHARED_FOLDER}: {error.strerror}"
    return path, token, None


def _size(processes: int) -> int:
    return _first_piece(processes) + (processes + 1) * PIECE


def _first_piece(processes: int) -> int:
    """Bytes in front of the pieces: whole pages with the token and the counters."""
    return -(-(processes + 1) * LINE // mmap.PAGESIZE) * mmap.PAGESIZE


def _open(path: Path, token: bytes, rank: int, processes: int) -> SharedSums | None:
    """The same memory in this process; None where it is another's."""
    try:
        file = os.open(path, os.O_RDWR)
        try_lock(file, wait=False, byte=rank)
        shared = torch.frombuffer(mmap.mmap(file, _size(processes)), dtype=torch.uint8)
    except OSError:
        return None
    if bytes(shared[:TOKEN].tolist()) != token:
        return None
    first = _first_piece(processes)
    counters = shared[LINE : (processes + 1) * LINE].view(torch.int64)[:: LINE // 8].numpy()
    return SharedSums(file, rank, counters, shared[first:].view(processes + 1, PIECE))


def average_in_shared_memory(state: SharedSums, bucket: torch.distributed.GradBucket) -> torch.futures.Future[Tensor]:
    """A communication hook: the mean over all processes of the gradients in a bucket."""
    answer: torch.futures.Future[Tensor] = torch.futures.Future()
    answer.set_result(state.average(bucket.buffer()))
    return answer


class SharedMemoryGradients(DistributedDataParallelKwargs):
    """accelerate's settings of DistributedDataParallel, with the hook."""

    def register_comm_hook(self, model: Any) -> None:
        """Called by accelerate with the model that it has wrapped."""
        found = share_sums()
        if isinstance(found, str):
            logger.info("Gradients are summed over sockets, not in shared memory (%s).", found)
            return
        model.register_comm_hook(found, average_in_shared_memory)
        logger.info("Gradients of %d processes are summed in shared memory.", found.processes)


def share_gradients(accelerator: Accelerator) -> None:
    """Let processes that train on one machine's processor sum their gradients in its memory."""
    asked: Any = accelerator.ddp_handler
    if accelerator.distributed_type is not DistributedType.MULTI_CPU or asked is None:
        return
    if asked.comm_hook.name != "NO" or asked.comm_wrapper.name != "NO":
        return
    accelerator.ddp_handler = SharedMemoryGradients(**{**vars(asked), "gradient_as_bucket_view": True})
