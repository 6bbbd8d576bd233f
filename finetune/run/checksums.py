"""Checksums of files: XXH3 with 128 bits, which finds damage (no forgery), many times faster than a disk writes."""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

HASHED_AT_ONCE = 1 << 24


def checksum(path: Path) -> str:
    """XXH3 of a file, 32 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    digest = new_digest()
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return digest.hexdigest()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            for start in range(0, len(view), HASHED_AT_ONCE):
                with view[start : start + HASHED_AT_ONCE] as block:
                    digest.update(block)
    return digest.hexdigest()


def new_digest() -> Any:
    """XXH3 with 128 bits; BLAKE2 of that length where prediction with an exported model is all that is installed."""
    try:
        import xxhash  # every start of a command imports this file, few hash
    except ModuleNotFoundError:
        return hashlib.blake2b(digest_size=16)
    return xxhash.xxh3_128()


class Checksums:
    """Checksums that another thread is computing, by name."""

    def __init__(self, futures: Mapping[str, Future[str]]) -> None:
        self._futures = futures

    def get(self, name: str) -> str:
        """Waits for it where it must.

        Raises:
            OSError: the file could not be read.
        """
        return self._futures[name].result()


@contextmanager
def start_checksums(folder: Path, names: Iterable[str]) -> Iterator[Checksums]:
    """Compute the checksums of files in a folder beside what the block does."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield Checksums({name: executor.submit(checksum, folder / name) for name in names})


def why_different(folder: Path, expected: Mapping[str, str]) -> str | None:
    """The first file that is not as its checksum says, as part of a sentence; None where all are."""
    for name, value in expected.items():
        try:
            if checksum(folder / name) != value:
                return f"{name} is damaged: its checksum is another"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None
