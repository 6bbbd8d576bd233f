"""Where things are kept that can be made or fetched again: tokenized text, files of named corpora."""

from __future__ import annotations

import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

VARIABLE = "FINETUNE_CACHE_DIR"
OLD_VARIABLE = "FINETUNE_CACHE"  # held a folder named `finetune`
_said: set[str] = set()


def cache_folder() -> Path:
    """`$FINETUNE_CACHE_DIR`; without it `finetune` in `$FINETUNE_CACHE` (its old name), `$XDG_CACHE_HOME` or `~/.cache`.

    That the old name was used is logged once, also that it is ignored beside the new one.
    """
    named, old = os.environ.get(VARIABLE), os.environ.get(OLD_VARIABLE)
    base = Path(old or os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = Path(named).expanduser() if named else base / "finetune"
    if old and named:
        _say_once(f"{OLD_VARIABLE} is ignored: {VARIABLE} is set, which is its name today.")
    elif old:
        _say_once(f"{OLD_VARIABLE} is called {VARIABLE} today: set that to {folder}.")
    return folder


def _say_once(line: str) -> None:
    if line not in _said:
        _said.add(line)
        logger.warning(line)
