"""How a run was made, on its page: the command to repeat it, its arguments, versions and machine."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any

from finetune.page.folder import RunFolder
from finetune.page.parts import Block, Cell, Code, Section, Table
from finetune.run.manifest import plain

FACTS = {
    "status": "status",
    "started": "started",
    "finished": "finished",
    "host": "host",
    "seed": "seed",
    "git_commit": "commit of finetune",
    "working_directory": "folder it was started in",
    "tokens_per_second": "real tokens a second in training",
    "mfu": "share of the machine's measured matrix rate (MFU)",
}


def make_environment(folder: RunFolder) -> Section:
    """The command, what it was asked, and what it ran on."""
    manifest = folder.manifest
    section = Section("environment", "Repeating this run")
    command = repeat_command(manifest)
    blocks: list[Block] = [Code(command, "The command")] if command else []
    rows: list[list[Cell]] = [
        [words, str(manifest[name])] for name, words in FACTS.items() if manifest.get(name) is not None
    ]
    rows += [["time that it took", _duration(manifest)]] if _duration(manifest) else []
    rows += [["number of attempts", 1 + len(manifest["resumed"])]] if manifest.get("resumed") else []
    blocks.append(Table("The run", ["", ""], rows))
    blocks.append(Table("Versions", ["package", "version"], list(map(list, (manifest.get("versions") or {}).items()))))
    arguments = manifest.get("arguments") or {}
    shown = [[name, show_value(value)] for name, value in sorted(arguments.items())]
    blocks.append(Table("Every argument", ["argument", "value"], shown, folded=True))
    section.blocks.extend(block for block in blocks if not isinstance(block, Table) or block.rows)
    return section


def repeat_command(manifest: Mapping[str, Any]) -> str:
    """What to type, from which folder."""
    words = manifest.get("command") or []
    place = f"cd {shlex.quote(str(manifest['working_directory']))}\n" if manifest.get("working_directory") else ""
    return place + _join_lines(list(map(str, words))) if words else ""


def _join_lines(words: list[str]) -> str:
    """A command as a shell reads it, every flag with its values on a line of its own: no flag is broken at a hyphen."""
    starts = [0, *(place for place, word in enumerate(words) if word.startswith("--") and place), len(words)]
    return " \\\n  ".join(shlex.join(words[first:end]) for first, end in pairwise(starts))


def _duration(manifest: Mapping[str, Any]) -> str | None:
    try:
        begun, ended = (datetime.fromisoformat(manifest[name]) for name in ("started", "finished"))
    except (KeyError, TypeError, ValueError):
        return None
    return str(ended - begun).partition(".")[0]


def show_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)
