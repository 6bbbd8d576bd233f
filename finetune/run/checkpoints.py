"""Checkpoints on disk: which are whole, which is newest, which a kill has left broken.

A checkpoint is whole when its marker `complete.json`, written last, names all its files with their sizes and checksums.
A folder without one, or one whose files do not match, is set aside under another name and never resumed from.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.run.atomic_files import sync_folder
from finetune.run.checksums import start_checksums, why_different
from finetune.run.manifest import write_json_atomically

logger = logging.getLogger(__name__)

MARKER = "complete.json"
BROKEN, REPLACED, DELETED = ".broken", ".replaced", ".deleted"
TRAINER_STATE = "trainer_state.json"
POSITION = "Position"  # among the states of callbacks in it
_NAME = re.compile(r"checkpoint-(\d+)")
_OUTLIVED = re.compile(rf"checkpoint-\d+(?:{re.escape(REPLACED)}|{re.escape(DELETED)})")


def mark_complete(folder: Path) -> None:
    """Flush a checkpoint's files to disk and write its marker. Call it after the last file is closed.

    Raises:
        OSError: a file could not be flushed; there is no marker then.
    """
    sizes = _sizes(folder)
    with start_checksums(folder, sizes) as checksums:  # while the disk is waited for
        for name in sizes:
            _flush(folder / name)
        for subfolder in {(folder / name).parent for name in sizes}:
            sync_folder(subfolder)
        facts = {name: {"bytes": size, "xxh3": checksums.get(name)} for name, size in sizes.items()}
    write_json_atomically(folder / MARKER, facts)
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
    except (OSError, ValueError, RecursionError) as error:
        return f"its marker {MARKER} is unreadable ({error})"
    if not isinstance(expected, dict) or not expected:
        return f"its marker {MARKER} names no files"
    return _first_difference(folder, expected)


def _first_difference(folder: Path, expected: Mapping[str, Any]) -> str | None:
    """Sizes first: they cost nothing. Markers of earlier versions hold nothing else."""
    found = _sizes(folder)
    for name, facts in expected.items():
        size = facts.get("bytes") if isinstance(facts, dict) else facts
        if name not in found:
            return f"{name} is missing"
        if not isinstance(size, int):
            return f"its marker {MARKER} is not of this program"
        if found[name] != size:
            return f"{name} has {found[name]:,} bytes instead of {size:,}"
    checksums = {name: facts["xxh3"] for name, facts in expected.items() if isinstance(facts, dict) and "xxh3" in facts}
    return why_different(folder, checksums)


def step_of(folder: Path) -> int:
    """The training step in a checkpoint's name, -1 for other names."""
    match = _NAME.fullmatch(folder.name)
    return int(match.group(1)) if match else -1


def list_checkpoints(output_dir: Path) -> list[Path]:
    """All folders named `checkpoint-N`, by step, whole or not."""
    folders = (path for path in output_dir.glob("checkpoint-*") if path.is_dir() and step_of(path) >= 0)
    return sorted(folders, key=step_of)


def newest_whole(output_dir: Path) -> Path | None:
    """The whole checkpoint with the highest step, by the name that it has after `restore_replaced`; nothing is touched.

    One whose best checkpoint is gone or damaged cannot end as the run would have: an earlier one is taken.
    """
    names = {path.name.removesuffix(REPLACED) for path in output_dir.glob(f"checkpoint-*{REPLACED}")}
    folders = {*list_checkpoints(output_dir), *(output_dir / name for name in names if step_of(Path(name)) >= 0)}
    wholes = (folder for folder in sorted(folders, key=step_of, reverse=True) if _find_whole(folder))
    return next((folder for folder in wholes if _best_is_whole(folder)), None)


def _find_whole(folder: Path) -> Path | None:
    """A checkpoint, or the one that it was about to replace."""
    either = (folder, folder.with_name(folder.name + REPLACED))
    return next((path for path in either if path.is_dir() and why_broken(path) is None), None)


def _best_is_whole(folder: Path) -> bool:
    found = _find_whole(folder)
    best = read_state(found).get("best_model_checkpoint") if found else None
    if not isinstance(best, str) or Path(best).name == folder.name:
        return True
    if _find_whole(folder.with_name(Path(best).name)):
        return True
    logger.warning("%s is passed over: %s, the best before it, is gone or damaged.", folder.name, Path(best).name)
    return False


def read_state(folder: Path) -> dict[str, Any]:
    """What a checkpoint's trainer_state.json holds; nothing where it cannot be read."""
    try:
        state = json.loads((folder / TRAINER_STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return state if isinstance(state, dict) else {}


def read_position(state: Mapping[str, Any]) -> dict[str, Any]:
    """What `training/resuming.py` noted in a trainer_state.json; nothing in those of earlier versions."""
    callbacks = state.get("stateful_callbacks")
    position = callbacks.get(POSITION) if isinstance(callbacks, dict) else None
    return position if isinstance(position, dict) else {}


def is_off_schedule(folder: Path) -> bool:
    """Whether a checkpoint is there because of an interruption alone: an undisturbed run would not have saved it."""
    return bool(read_position(read_state(folder)).get("off_schedule"))


def restore_replaced(output_dir: Path) -> list[Path]:
    """Where a kill left no whole checkpoint of a step: give the one that was to be replaced its name back.

    Call after `set_broken_aside`.
    """
    restored = []
    for path in sorted(output_dir.glob(f"checkpoint-*{REPLACED}")):
        folder = path.with_name(path.name.removesuffix(REPLACED))
        if not folder.exists() and why_broken(path) is None:
            restored.append(path.rename(folder))
    return restored


def make_way(folder: Path) -> None:
    """Before a checkpoint is written: one of that name is kept under another until the new one is whole."""
    replaced = folder.with_name(folder.name + REPLACED)
    if not folder.exists():
        return
    if replaced.exists():
        shutil.rmtree(replaced)
    folder.rename(replaced)


def delete(folder: Path) -> None:
    """Delete a checkpoint; a kill in between leaves no half checkpoint, only what `remove_outlived` removes."""
    gone = folder if _OUTLIVED.fullmatch(folder.name) else folder.rename(folder.with_name(folder.name + DELETED))
    shutil.rmtree(gone)


def remove_outlived(output_dir: Path) -> list[Path]:
    """Remove what was replaced or half deleted when a process was killed; returns what was removed."""
    outlived = [path for path in sorted(output_dir.glob("checkpoint-*")) if _OUTLIVED.fullmatch(path.name)]
    removed = [path for path in outlived if path.is_dir() and not path.is_symlink()]
    for path in removed:
        shutil.rmtree(path)
    return removed


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
