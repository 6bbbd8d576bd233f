"""Paths as users type them: `~` is expanded and addresses become paths here, once, for flags and config files alike."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetune.arguments.fields import Field
from finetune.errors import Problem, UsageError

METAVARS = ("FILE", "FOLDER", "PATH", "NAME_OR_FOLDER", "FILE_OR_FOLDER", "RUN", "DIR", "TYPE_OR_MODEL")
CONFIGS = ("accelerator_config", "fsdp_config", "deepspeed")  # of transformers: a file, or JSON
REMOTE = re.compile(r"(?:s3|gs|gcs|abfss?|az|hdfs|webhdfs|memory|https?)://.", re.DOTALL)
Localize = Callable[[str, str], str]  # an address and the name of its flag -> where it lies here
LONGEST_NAME = 255  # bytes of a file name, on every file system that matters
_NAME = re.compile(r"(?:.*_)?(?:dir|file|files|path|folder|folders|checkpoint)|config_name|data_file_pattern")


def is_path(field: Field) -> bool:
    """Whether a field takes a path, alone or beside names."""
    kinds = (field.metavar or "").split("|")
    return any(kind in METAVARS for kind in kinds) or field.name in CONFIGS or bool(_NAME.fullmatch(field.name))


def resolve_paths(field: Field, value: Any, flag: str, localize: Localize | None = None) -> Any:
    """The value of a field with `~` expanded and addresses (s3://...) made paths by `localize`, if it takes paths.

    Raises:
        UsageError: there is no such user, or a part of the path is longer than a name may be.
    """
    if not is_path(field):
        return value
    if isinstance(value, list):
        return [resolve_paths(field, item, flag, localize) for item in value]
    if isinstance(value, str) and localize is not None and REMOTE.match(value):
        return localize(value, field.name)
    return _resolve_path(value, flag) if isinstance(value, str) else value


def _resolve_path(text: str, flag: str) -> str:
    resolved = text
    if re.match(r"~[^/]*(?:/|$)", text) and not Path(text).exists():
        try:
            resolved = str(Path(text).expanduser())
        except RuntimeError as error:
            found = f"{flag} is {text!r}"
            raise UsageError(Problem(found, "there is no user of that name", "write the whole path")) from error
    longest = max((part for part in resolved.split("/")), key=lambda part: len(os.fsencode(part)), default="")
    if len(os.fsencode(longest)) > LONGEST_NAME:
        found = f"{flag} holds a name of {len(os.fsencode(longest)):,} bytes, {longest[:40]}..."
        raise UsageError(Problem(found, f"a file or folder has {LONGEST_NAME} at most"))
    if "\0" in resolved:
        raise UsageError(Problem(f"{flag} is {text!r}", "no path holds a null byte"))
    return resolved
