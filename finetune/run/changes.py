"""Whether a finished run would be the same today, for `--if_changed`: its code, and all files that its arguments name.

`comparing.py` knows the arguments and the files that were read as data. What this adds: the source of finetune and the
versions of its libraries, and every file that an argument names, directly or as a file of a folder (a model, a data
folder that has got one more split). Folders inside a named folder, hidden files and the run's own output are not looked
at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetune.run.comparing import NOT_COMPARED, fingerprints, input_differences
from finetune.run.manifest import version_changes

PACKAGE = Path(__file__).resolve().parents[1]
WRITTEN = frozenset({"log_dir", "export", "test_output_file_prefix"})  # arguments that name what a run writes
NO_SOURCE = (".pyc", ".so")


def fingerprint_code(script: Path) -> str:
    """sha256 over the names and contents of all source files of finetune, and the script that was started."""
    digest = hashlib.sha256(script.read_bytes() if script.is_file() else b"")
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and path.suffix not in NO_SOURCE:
            digest.update(f"\0{path.relative_to(PACKAGE).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def named_files(arguments: Mapping[str, Any], output: Path) -> set[Path]:
    """Every file that a compared argument names, and every file directly in a folder that one names; absolute."""
    words = (word for name, value in arguments.items() if name not in NOT_COMPARED | WRITTEN for word in _words(value))
    paths = (Path(word) for word in words if word and "\0" not in word)
    found = {path.resolve() for named in paths for path in _files(named)}
    return {path for path in found if output.resolve() not in path.parents}


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _words(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _words(item)


def _files(named: Path) -> list[Path]:
    try:
        if named.is_dir():
            return [path for path in named.iterdir() if path.is_file() and not path.name.startswith(".")]
        return [named] if named.is_file() else []
    except OSError:
        return []  # a value that is no path at all, or a folder that may not be read


def record_basis(arguments: Mapping[str, Any], output: Path, script: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a run that starts now is based on, beside its arguments, its `inputs` (known already) and its versions.

    Raises:
        OSError: a file that an argument names cannot be read.
    """
    further = {path for path in named_files(arguments, output) if str(path) not in inputs}
    return {"code": fingerprint_code(script), "named_files": fingerprints(sorted(further))}


def basis_differences(before: Mapping[str, Any], arguments: Mapping[str, Any], output: Path, script: Path) -> list[str]:
    """One phrase per file that changed, came or went, per version, and for the code."""
    known = before.get("named_files")
    if known is None or "code" not in before:
        return ["what code and files the run was made with is not recorded"]
    new = {str(path) for path in named_files(arguments, output)} - set(known) - set(before.get("inputs", {}))
    return [
        *input_differences(known),
        *(f"{name} is new" for name in sorted(new)),
        *version_changes(before.get("versions", {})),
        *([] if fingerprint_code(script) == before["code"] else ["the code of finetune has changed"]),
    ]
