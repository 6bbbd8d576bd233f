"""Archives of users and of the net: members read whole, never more than memory was meant for, and no link followed."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from finetune.errors import DataError, Problem

LARGE, PACKED_TIMES = 1 << 28, 200  # as of gzip files: no text of people is packed better
# What zipfile raises for damaged, encrypted and foreign archives, beside its own exception.
DAMAGE = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, LookupError, OSError)


class Archive:
    """A zip archive that is open; `name` is what it is called in problems."""

    def __init__(self, archive: zipfile.ZipFile, name: str | Path) -> None:
        self._archive, self.name = archive, name
        self.members = [item for item in archive.namelist() if not item.startswith("__MACOSX/")]

    def read(self, member: str) -> bytes:
        """What a member holds.

        Raises:
            DataError: it is damaged, encrypted, a link, or holds more than a text can that is packed so small.
        """
        facts = self._archive.getinfo(member)
        if stat.S_ISLNK(facts.external_attr >> 16):
            raise self._problem(f"{member} is a link, not a file")
        if facts.file_size > max(LARGE, PACKED_TIMES * facts.compress_size):
            found = f"{member} of {facts.compress_size:,} bytes would unpack to {facts.file_size:,} bytes"
            raise self._problem(found, "unpack it yourself if that is right")
        with _damage_told(self.name, member):
            return self._archive.read(member)

    def _problem(self, found: str, remedy: str = "fetch it again") -> DataError:
        return DataError(Problem(found, "", remedy, self.name))


@contextmanager
def open_archive(source: Path | IO[bytes], name: str | Path) -> Iterator[Archive]:
    """A zip archive, a file or a stream of its bytes.

    Raises:
        DataError: it is none, or a damaged one.
    """
    with _damage_told(name, ""):
        archive = zipfile.ZipFile(source)
    with archive:
        yield Archive(archive, name)


@contextmanager
def _damage_told(name: str | Path, member: str) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        reason = str(error).strip() or type(error).__name__
        found = f"the archive is damaged ({member + ': ' if member else ''}{reason})"
        raise DataError(Problem(found, "", "fetch it again", name)) from error
