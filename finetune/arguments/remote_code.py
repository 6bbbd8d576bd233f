"""What may run code that came with a file is opened by a flag typed on the command line, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetune.arguments.secrets import HIDDEN
from finetune.errors import Problem

# Flag -> what a config file could open by it.
ONLY_TYPED = {
    "trust_remote_code": "a file cannot let a model run its code",
    "allow_import": "a file cannot open what it imports",
}
# Keywords of from_pretrained that lead to code of a model or to its pickles -> the value that does not.
REFUSED_KEYS = {"trust_remote_code": False, "weights_only": True}


def may_stand_in_file(name: str, words: tuple[str, ...] | None) -> bool:
    """Whether a config file may hold this; switching it off is no danger."""
    return (
        name not in ONLY_TYPED or not words or (len(words) == 1 and words[0].casefold() in ("false", "no", "off", "0"))
    )


def explain_only_typed(name: str, path: Path | None, line: int | None) -> Problem:
    return Problem(
        f"{name} stands in a config file", remedy=f"type --{name} yourself: {ONLY_TYPED[name]}", path=path, line=line
    )


def check_dictionary(value: Any, flag: str, path: Path | None, line: int | None) -> Iterator[Problem]:
    """Problems of a dictionary that was given, at any depth: doors to code, and secrets that were left out."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _check_key(str(key), item, f"{flag}.{key}", path, line)
            yield from check_dictionary(item, f"{flag}.{key}", path, line)
    elif isinstance(value, list):
        for item in value:
            yield from check_dictionary(item, flag, path, line)
    elif isinstance(value, str) and HIDDEN in value:
        found = f"{flag} holds {HIDDEN!r}, which stands for a secret that was left out when this was written"
        yield Problem(found, remedy="give the secret itself", path=path, line=line)


def _check_key(key: str, item: Any, flag: str, path: Path | None, line: int | None) -> Iterator[Problem]:
    name = key.replace("-", "_")
    if name not in REFUSED_KEYS or item is REFUSED_KEYS[name]:
        return
    if name == "trust_remote_code":
        yield Problem(
            f"{flag} is set", remedy=f"type --trust_remote_code yourself: {ONLY_TYPED[name]}", path=path, line=line
        )
    else:
        yield Problem(
            f"{flag} is {item!r}", "weights are read as numbers alone: a pickle can run code", path=path, line=line
        )
