"""Where trained tokenizers go: never over a file unasked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finetune.errors import Problem, UsageError


def refuse_overwriting(files: Sequence[Path], *, overwrite: bool, flag: str = "--overwrite_output_file") -> None:
    """Raise a UsageError that names every file that is there already, unless `flag` was given."""
    there = [file for file in files if file.exists()]
    if there and not overwrite:
        remedy = f"say {flag} to replace it, or choose another name"
        raise UsageError(*(Problem("this file exists already", remedy=remedy, path=file) for file in there))
