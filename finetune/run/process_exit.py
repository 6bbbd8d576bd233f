"""The end of a process, also of one among several that train together."""

from __future__ import annotations

import atexit
import os
import sys
from typing import NoReturn, TextIO


def leave(code: int) -> NoReturn:
    """Exit with a code; what was registered with `atexit` is called and what was written is flushed in either case.

    A process that trains with others goes without Python's own last steps. The threads of Gloo hold tensors until a
    moment after a collective has returned, and one that lets go of a tensor while Python takes itself down aborts the
    process: a finished training would end with SIGABRT, now and then. Destroying the process group does not help as
    long as a wrapped model refers to it (https://github.com/pytorch/pytorch/pull/179291).
    """
    _flush()
    _end_workers()
    if not _in_process_group():
        sys.exit(code)
    atexit._run_exitfuncs()
    _flush()
    os._exit(code)


def _end_workers() -> None:
    """Workers that still live have nothing to do any more; Python would wait for those that put SIGTERM off."""
    multiprocessing = sys.modules.get("multiprocessing")
    for worker in multiprocessing.active_children() if multiprocessing else ():
        if worker.daemon:
            worker.kill()


def give_up(stream: TextIO) -> None:
    """Nobody reads this output: what Python writes there from now on goes nowhere, without a complaint."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _in_process_group() -> bool:
    """Whether torch connected this process with others; most commands never import torch."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            give_up(stream)
