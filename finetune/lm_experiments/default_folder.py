"""Where results go when no folder is named: by files, model and time; a run of the same arguments is found again."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from finetune.errors import DataError, LockedError, Problem, UsageError
from finetune.run.comparing import argument_differences, input_differences
from finetune.run.launcher import count_processes
from finetune.run.lock import LOCK, FolderLock
from finetune.run.manifest import read_manifest
from finetune.run.siblings import Siblings

ROOT = Path("outputs")
NOW = "{now}"
FOLDER_OF_LAUNCH = "FINETUNE_LM_FOLDER"  # what a command has named for the processes that it starts


def time_stamp() -> str:
    """year-month-day_hour_minute_second.nanoseconds, of the 24 hours' clock."""
    ns = time.time_ns()
    return f"{datetime.fromtimestamp(ns // 10**9):%Y-%m-%d_%H_%M_%S}.{ns % 10**9:09d}"


def stem_of(file: str) -> str:
    """`X` of `data/X.txt.gz`."""
    name = Path(file).name.removesuffix(".gz")
    return name.rpartition(".")[0] or name


def find_folder_of_launch() -> str | None:
    """The folder that the command which started this process has named; None where it is to be named here.

    Raises:
        UsageError: a launcher of others has started several, which would each name one after their own time.
    """
    if count_processes() == 1:
        return None
    named = os.environ.get(FOLDER_OF_LAUNCH)
    if named and Siblings.from_environment():
        return named
    found = "--output_dir is to be named after the time, which differs between the processes of a launcher"
    raise UsageError(Problem(found, remedy="give a folder, or start the command itself with --nproc N"))


def find_training_folder(
    train_file: str, model: str, arguments: Mapping[str, Any], typed: Collection[str], *, anew: bool = False
) -> Path:
    """`outputs/TRAIN_FILE/MODEL/TIME`: that of an interrupted run of the same arguments, else a new one."""
    parent = ROOT / stem_of(train_file) / dashed(model)
    unfinished = [path for path in same_runs(parent.glob("*"), arguments, typed) if not is_done(path)]
    return unfinished[-1] if unfinished and not anew else parent / time_stamp()


def find_test_folder(model: str, arguments: Mapping[str, Any], typed: Collection[str]) -> Path:
    """`outputs/test_only/MODEL`; where that holds other tests of the model, the same with the time behind it."""
    plain = ROOT / "test_only" / dashed(model)
    same = same_runs([plain, *sorted(plain.parent.glob(f"{plain.name}_*"))], arguments, typed)
    if same:
        return same[-1]
    return plain.with_name(f"{plain.name}_{time_stamp()}") if plain.exists() and any(plain.iterdir()) else plain


def dashed(model: str) -> str:
    return model.strip("/").replace("/", "-") or "model"


def same_runs(folders: Any, arguments: Mapping[str, Any], typed: Collection[str]) -> list[Path]:
    """Folders, in order, that hold a run of these arguments on unchanged input which no process works on."""
    return [path for path in sorted(folders) if _is_same(path, arguments, typed) and not is_locked(path)]


def _is_same(folder: Path, arguments: Mapping[str, Any], typed: Collection[str]) -> bool:
    try:
        before = read_manifest(folder)
    except (DataError, NotADirectoryError):
        return False
    if before is None:
        return False
    return not (
        argument_differences(before["arguments"], arguments, typed) or input_differences(before.get("inputs", {}))
    )


def is_done(folder: Path) -> bool:
    return (read_manifest(folder) or {}).get("status") == "done"


def is_locked(folder: Path) -> bool:
    """Whether another live process holds a folder."""
    if not (folder / LOCK).exists() or not os.access(folder, os.W_OK):
        return False
    lock = FolderLock(folder)
    try:
        lock.acquire()
    except LockedError:
        return True
    lock.release()
    return False
