"""Where trained tokenizers go: never over a file unasked, never half a file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from finetune.errors import Problem, UsageError


def refuse_overwriting(files: Sequence[Path], *, overwrite: bool, flag: str = "--overwrite_output_file") -> None:
    """Raise a UsageError that names every file that is there already, unless `flag` was given."""
    there = [file for file in files if file.exists()]
    if there and not overwrite:
        remedy = f"say {flag} to replace it, or choose another name"
        raise UsageError(*(Problem("this file exists already", remedy=remedy, path=file) for file in there))


@contextmanager
def written_aside(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files are moved into `folder` at the end, if nothing went wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".training-", dir=folder))
    try:
        yield aside
        for file in sorted(aside.iterdir()):
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
