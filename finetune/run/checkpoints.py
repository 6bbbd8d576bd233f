"""Checkpoints on disk: which are whole, which is newest, which a kill has left broken.

A checkpoint is whole when its marker `complete.json`, written last, names all its files with their sizes. A folder
without one, or one whose files do not match, is set aside under another name and never resumed from.
"""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path

from finetune.run.atomic_files import sync_folder
from finetune.run.manifest import write_json_atomically

logger = logging.getLogger(__name__)

MARKER = "complete.json"
BROKEN = ".broken"
_NAME = re.compile(r"checkpoint-(\d+)")


def mark_complete(folder: Path) -> None:
    """Flush a checkpoint's files to disk and write its marker. Call it after the last file is closed.

    Raises:
        OSError: a file could not be flushed; there is no marker then.
    """
    sizes = _sizes(folder)
    for name in sizes:
        _flush(folder / name)
    for subfolder in {(folder / name).parent for name in sizes}:
        sync_folder(subfolder)
    write_json_atomically(folder / MARKER, sizes)
    sync_folder(folder.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sizes(folder: Path) -> dict[str, int]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MARKER)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def why_broken(folder: Path) -> str | None:
    """What is wrong with a checkpoint, as part of a sentence; None when it is whole."""
    try:
        expected = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "saving it was cut off"
    except (OSError, ValueError) as error:
        return f"its marker {MARKER} is unreadable ({error})"
    if not isinstance(expected, dict) or not expected:
        return f"its marker {MARKER} names no files"
    return _first_difference(expected, _sizes(folder))


def _first_difference(expected: dict[str, int], found: dict[str, int]) -> str | None:
    for name, size in expected.items():
        if name not in found:
            return f"{name} is missing"
        if found[name] != size:
            return f"{name} has {found[name]:,} bytes instead of {size:,}"
    return None


def step_of(folder: Path) -> int:
    """The training step in a checkpoint's name, -1 for other names."""
    match = _NAME.fullmatch(folder.name)
    return int(match.group(1)) if match else -1


def list_checkpoints(output_dir: Path) -> list[Path]:
    """All folders named `checkpoint-N`, by step, whole or not."""
    folders = (path for path in output_dir.glob("checkpoint-*") if path.is_dir() and step_of(path) >= 0)
    return sorted(folders, key=step_of)


def newest_whole(output_dir: Path) -> Path | None:
    """The whole checkpoint with the highest step; nothing on disk is touched."""
    return next((folder for folder in reversed(list_checkpoints(output_dir)) if why_broken(folder) is None), None)


def set_broken_aside(output_dir: Path) -> list[Path]:
    """Rename every broken `checkpoint-N` to `checkpoint-N.broken`, with one warning each; returns the new names."""
    moved = []
    for folder in list_checkpoints(output_dir):
        reason = why_broken(folder)
        if reason is not None:
            moved.append(folder.rename(_free_name(folder)))
            logger.warning("%s is not whole (%s); it is set aside as %s.", folder.name, reason, moved[-1].name)
    return moved


def _free_name(folder: Path) -> Path:
    candidates = [folder.with_name(folder.name + BROKEN)]
    candidates += [folder.with_name(f"{folder.name}{BROKEN}.{number}") for number in range(2, 1000)]
    return next(path for path in candidates if not path.exists())
