"""Results that wait on the disk for the same command to be started again: one file an item, whole or not there."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from finetune.run.atomic_files import AtomicFile

KEY = "key"


class KeptResults:
    """A folder of finished results; those of other work are removed from it."""

    def __init__(self, folder: Path, key: Any) -> None:
        self.folder = folder
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
        if self._key() != digest:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._write(KEY, digest.encode())
        self.found = {int(path.name) for path in folder.iterdir() if path.name.isdecimal()}

    def _key(self) -> str:
        path = self.folder / KEY
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def read(self, number: int) -> bytes:
        return (self.folder / str(number)).read_bytes()

    def write(self, number: int, content: bytes) -> None:
        """Keep a result."""
        self._write(str(number), content)
        self.found.add(number)

    def _write(self, name: str, content: bytes) -> None:
        with AtomicFile(self.folder / name) as file:
            file.stream.write(content)
