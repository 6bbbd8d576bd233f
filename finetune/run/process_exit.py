"""The end of a process, also of one among several that train together."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from typing import NoReturn, TextIO

from finetune.errors import EXIT_FAILED

STREAMS = {"stdin": os.O_RDONLY, "stdout": os.O_WRONLY, "stderr": os.O_WRONLY}

SECONDS_TO_DIE = 5.0  # of a worker that was killed

_refused: list[OSError] = []  # what standard output said to results


def open_missing_streams() -> None:
    """A standard stream that was closed (`>&-`) leads nowhere: else the next file that is opened would take its place."""
    for descriptor, (name, mode) in enumerate(STREAMS.items()):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, mode)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            stream = open(descriptor, "r" if mode == os.O_RDONLY else "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def write_result(text: str) -> None:
    """A line of standard output; one that cannot be written is told by `leave`."""
    try:
        print(text, flush=True)
    except OSError as error:
        lose_output(error)


def lose_output(error: OSError) -> None:
    """Standard output takes no more; but for a reader that had enough (`| head`), that is a failure."""
    give_up(sys.stdout)
    if not isinstance(error, BrokenPipeError):
        _refused.append(error)


def say_error(text: str) -> None:
    """A line on standard error, where somebody reads it."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        give_up(sys.stderr)


def leave(code: int) -> NoReturn:
    """Exit with a code; what was registered with `atexit` is called and what was written is flushed in either case.

    Results that standard output cannot take (a full disk) make 0 a 1.

    A process that trains with others goes without Python's own last steps. The threads of Gloo hold tensors until a
    moment after a collective has returned, and one that lets go of a tensor while Python takes itself down aborts the
    process: a finished training would end with SIGABRT, now and then. Destroying the process group does not help as
    long as a wrapped model refers to it (https://github.com/pytorch/pytorch/pull/179291).
    """
    _flush()
    _end_workers()
    if _refused:
        say_error(f"error: standard output cannot be written ({_refused[0].strerror}).")
        code = code or EXIT_FAILED
    if not _in_process_group():
        sys.exit(code)
    atexit._run_exitfuncs()
    _flush()
    os._exit(code)


def _end_workers() -> None:
    """Workers that still live have nothing to do any more; Python would wait for those that put SIGTERM off.

    torch takes the death of a loader's worker for a fault, in a handler that a moment's default keeps from it.
    """
    multiprocessing = sys.modules.get("multiprocessing")
    workers = [child for child in multiprocessing.active_children() if child.daemon] if multiprocessing else []
    if not workers:
        return
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if is_main else None
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join(SECONDS_TO_DIE)
    if before is not None:
        signal.signal(signal.SIGCHLD, before)


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
        except OSError as error:
            if stream is sys.stdout:
                lose_output(error)
            else:
                give_up(stream)
