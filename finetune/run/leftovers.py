"""Which files of an output folder a run wrote, and how to remove those and no others."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from finetune.run.atomic_files import PATTERN
from finetune.run.lock import LOCK
from finetune.run.logs import LOG_FILE
from finetune.run.manifest import MANIFEST
from finetune.run.stop_file import STOP


def list_files(folder: Path) -> list[str]:
    """Relative names of all files in an output folder, but not of runs in folders inside it, nor what writers left."""
    return sorted(name for name in _walk(folder, folder) if name not in (LOCK, STOP)) if folder.is_dir() else []


def _walk(folder: Path, root: Path) -> Iterator[str]:
    for entry in os.scandir(folder):
        path = Path(entry.path)
        if PATTERN.fullmatch(entry.name):
            continue  # of a writer that was killed: nobody's
        if entry.is_dir(follow_symlinks=False):
            if not (path / MANIFEST).exists():
                yield from _walk(path, root)
        else:
            yield path.relative_to(root).as_posix()


def written_by_run(folder: Path, listed: Iterable[str], foreign: Collection[str]) -> list[str]:
    """What a run left: the files it listed, and what a kill kept it from listing (its checkpoints, log and record)."""
    known = set(listed)
    return [name for name in list_files(folder) if name not in foreign and (name in known or _is_typical(name))]


def _is_typical(name: str) -> bool:
    return name in (MANIFEST, LOG_FILE) or name.startswith(("checkpoint-", "tmp-checkpoint-"))


def remove_files(folder: Path, names: Iterable[str]) -> int:
    """Remove files by relative name, and the folders that this empties; returns how many files went.

    Names that lead out of the folder, by `..` or by a link, are left alone.
    """
    removed = 0
    root = folder.resolve()
    for name in names:
        path = folder / name
        if root not in path.parent.resolve().joinpath(path.name).parents or not (path.is_symlink() or path.is_file()):
            continue
        path.unlink()
        removed += 1
        _remove_empty(path.parent, folder)
    return removed


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
