"""The same function over many items by several processes, results in the order of the items.

Workers are started anew (not forked), so threads and locks of the parent are none of their business; they hold one
tokenizer thread each, and die with the parent, however it dies.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any, TypeVar

from finetune.errors import RunError
from finetune.run.engines import Engine, Keeping, Mapped, Needs, Reread, find_engine
from finetune.run.signals import LEFT_TO_PARENT

Item = TypeVar("Item")
Result = TypeVar("Result")

IN_FLIGHT_PER_WORKER = 3  # enough that no worker waits for the reader, few enough that memory stays flat
SECONDS_AFTER_TERM = 120  # longer than a step and a checkpoint take
TOKENIZER_THREADS = "TOKENIZERS_PARALLELISM"

_function: Callable[[Any], Any] | None = None  # of this worker process


def usable_cores() -> int:
    """Cores that this process may use (batch systems give fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, keeping: Keeping | None = None
) -> Iterator[Result]:
    """`function(item)` for each item, in order, by `workers` processes; by this one where there is but one.

    At most `IN_FLIGHT_PER_WORKER` items a worker are read ahead. `function` and items must be picklable. Where an engine
    works in place of this process, its processes do, if `items` themselves can be pickled and read there (`Reread`); it
    keeps what is finished as `keeping` says.

    Raises:
        RunError: a worker was killed (usually for memory). What `function` raises comes through.
    """
    engine = find_engine()
    if engine is not None and isinstance(items, Reread):
        yield from _map_by(engine, function, items, workers, keeping)
        return
    if workers <= 1:
        with one_tokenizer_thread():
            yield from map(function, items)
        return
    executor = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(function,)
    )
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(executor.submit(_call, item))
            if len(pending) >= workers * IN_FLIGHT_PER_WORKER:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise RunError(
            "a worker process was killed, probably because memory ran out; use fewer workers or give more memory"
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _map_by(
    engine: Engine, function: Callable[[Any], Any], items: Reread, workers: int, keeping: Keeping | None
) -> Iterator[Any]:
    if keeping is None:
        return engine.work_on(Mapped(function, items), Needs(items.files, workers, one_core=True))
    needs = Needs(items.files, workers, one_core=True, kept=keeping.folder, key=keeping.key)
    return map(keeping.unpack, engine.work_on(Mapped(function, items, keeping.pack), needs))


@contextmanager
def one_tokenizer_thread() -> Iterator[None]:
    """Keep the Rust tokenizers to one thread: `workers` is what decides how many cores are used."""
    before = os.environ.get(TOKENIZER_THREADS)
    os.environ[TOKENIZER_THREADS] = "false"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(TOKENIZER_THREADS)
        else:
            os.environ[TOKENIZER_THREADS] = before


def _start_worker(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    os.environ[TOKENIZER_THREADS] = "false"
    for number in LEFT_TO_PARENT:  # which decides what Ctrl-C means
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


class LeaveToParent:
    """A data loader's `worker_init_fn`: what a batch system sends to a whole group of processes does not end the worker.

    The parent finishes its step, which may need more batches, saves and ends; it lets its workers end before that. A
    worker that was told to end and still lives after `SECONDS_AFTER_TERM` goes by itself.
    """

    def __init__(self, further: Callable[[int], None] | None = None) -> None:
        self.further = further

    def __call__(self, worker: int) -> None:
        for number in LEFT_TO_PARENT:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SECONDS_AFTER_TERM))
        if self.further is not None:
            self.further(worker)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _call(item: object) -> Any:
    assert _function is not None, "the worker was started without its function"
    return _function(item)
