"""run.json: what a run was asked to do, with what, on what, and how it ended.

Written whole and atomically, so that a kill at any moment leaves the old one or the new one, never half of one.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from finetune.errors import DataError, Problem
from finetune.run.atomic_files import atomic_text_file

MANIFEST = "run.json"
FORMAT = 1
FACTS = {"arguments": dict, "status": str}  # without them it is no run's
FURTHER_FACTS = {  # which it may lack, of these kinds
    **dict.fromkeys(("inputs", "named_files", "versions", "asked", "result"), dict),
    **dict.fromkeys(("files", "foreign", "resumed", "command"), list),
    **dict.fromkeys(("program", "code"), str),
}
PACKAGES = (
    "finetune",
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "tokenizers",
    "numpy",
    "scikit-learn",
)


def write_json_atomically(path: Path, value: object) -> None:
    """Write a value as JSON: a reader sees the old file or the new one.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file stands then.
    """
    with atomic_text_file(path, errors="backslashreplace") as file:  # names that are no UTF-8
        json.dump(plain(value), file, ensure_ascii=False, indent=1)
        file.write("\n")


def plain(value: object) -> Any:
    """A value as JSON can hold it: numpy and torch numbers as numbers, paths as text, not-a-number as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if value - value == 0 else None  # inf and nan are not JSON
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The run.json of a folder, None where there is none.

    Raises:
        DataError: there is one, but it is not ours or cannot be read.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(Problem(f"not readable as a run's record ({error})", remedy=_ASIDE, path=path)) from error
    if not isinstance(found, dict) or not _has_kinds(found):
        raise DataError(Problem("not the record of a run of finetune", remedy=_ASIDE, path=path))
    return found


def _has_kinds(found: dict[str, Any]) -> bool:
    needed = all(isinstance(found.get(name), kind) for name, kind in FACTS.items())
    return needed and all(isinstance(found[name], kind) for name, kind in FURTHER_FACTS.items() if name in found)


_ASIDE = "move it away, or choose another --output_dir"


def new_manifest(arguments: Mapping[str, Any], argv: Iterable[str]) -> dict[str, Any]:
    """The record of a run that starts now."""
    return {
        "format": FORMAT,
        "status": "running",
        "command": list(argv),
        "arguments": plain(arguments),
        "seed": arguments.get("seed"),
        "started": now(),
        "versions": library_versions(),
        "git_commit": git_commit(),
        "host": platform.node(),
        "working_directory": str(Path.cwd()),
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def library_versions() -> dict[str, str]:
    """Versions of Python and of the packages, from their metadata, without importing them."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The commit of the checkout that this code runs from, with `+changes` where files differ from it; None outside one."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    commit = _git(checkout, "rev-parse", "HEAD")
    changes = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    return commit + "+changes" if commit and changes else commit or None


def _git(checkout: Path, *words: str) -> str:
    command = ["git", "-C", str(checkout), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def version_changes(before: Mapping[str, str]) -> list[str]:
    """One phrase per package whose version is not the recorded one."""
    found = library_versions()
    return [f"{name} {old} -> {found.get(name, 'missing')}" for name, old in before.items() if found.get(name) != old]
