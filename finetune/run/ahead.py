"""Iterators whose items another thread makes: one item ahead, or as many as have come."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """`items`, all of them made by one thread. What it raises is raised where its item would have come.

    Worth it where items, or what is done with them, leave the interpreter: C++ and the tokenizers library do.
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        coming = thread.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, source, end)
            yield item  # type: ignore[misc]


def gather(items: Iterable[Item], *, size: int, seconds: float) -> Iterator[list[Item]]:
    """Lists of items as they come: none waits longer than `seconds` for others, and no list has more than `size`.

    For a source that somebody types into: the thread that reads it does not keep the process from ending. What the source
    raises is raised behind the items that came before.
    """
    held: queue.Queue[tuple[Item | None, BaseException | None, bool]] = queue.Queue(maxsize=2 * size)

    def read() -> None:
        try:
            for item in items:
                held.put((item, None, False))
        except BaseException as error:
            held.put((None, error, True))
        else:
            held.put((None, None, True))

    threading.Thread(target=read, name="gather", daemon=True).start()
    ended, failure = False, None
    while not ended:
        item, failure, ended = held.get()
        batch: list[Item] = [] if ended else [item]  # type: ignore[list-item]
        last = time.monotonic() + seconds
        while not ended and len(batch) < size:
            try:
                item, failure, ended = held.get(timeout=max(0.0, last - time.monotonic()))
            except queue.Empty:
                break
            batch += [] if ended else [item]  # type: ignore[list-item]
        if batch:
            yield batch
    if failure is not None:
        raise failure
