"""The lines that begin each attempt in `run.log`, where the attempts of a run stand one after another."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Sequence
from pathlib import Path

from finetune.run.manifest import git_commit, library_versions, now


def describe_attempt(number: int, command: Sequence[str]) -> list[str]:
    """Which attempt it is, when, where, by which command line (without secrets) and with which code."""
    commit = git_commit()
    versions = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    return [
        f"===== Attempt {number:,}: {now()}, host {platform.node()}, process {os.getpid()} =====",
        f"Command: {_on_one_line(shlex.join(command))}",
        f"Folder: {_on_one_line(str(Path.cwd()))}",
        f"Versions: {versions}" + (f", commit {commit}" if commit else ""),
    ]


def _on_one_line(text: str) -> str:
    return text.replace("\n", "\\n").replace("\r", "\\r")
