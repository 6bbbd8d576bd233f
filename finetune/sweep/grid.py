"""A grid of values -> the runs of a sweep: the flags and the folder name of each."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from finetune.arguments.config_file import read_config_file
from finetune.arguments.remote_code import explain_only_typed, may_stand_in_file
from finetune.arguments.scanner import is_flag
from finetune.errors import Problem, ProblemList, UsageError

NAME_LENGTH = 120
_UNFIT = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class Cell:
    """One run: its values by flag name, as text."""

    name: str
    values: dict[str, str]

    @property
    def words(self) -> list[str]:
        """The flags that set the values."""
        return [word for flag, value in self.values.items() for word in _spell(flag, value)]


def _spell(flag: str, value: str) -> list[str]:
    """The words of a flag with its value, which may begin with dashes itself."""
    return [f"--{flag}={value}"] if value == "--" or is_flag(value) else [f"--{flag}", value]


def read_grid(flags: Sequence[str], path: Path | None) -> dict[str, list[str]]:
    """Flag name -> its values: those of a file, overridden by `FIELD=A,B,C`.

    Raises:
        UsageError: with every word that is no such thing, values that stand there twice, a file that cannot be read.
    """
    problems = ProblemList()
    axes = problems.attempt(_read_file, path) if path else {}
    named: dict[str, list[str]] = {}
    for word in flags:
        name, equals, text = word.partition("=")
        name, values = _clean(name), [value.strip() for value in text.split(",")]
        if not (equals and name and all(values)):
            problems.append(Problem(f"--grid {word!r}", "it takes FIELD=A,B,C", "commas in values need --grid_file"))
        elif name in named:
            problems.append(Problem(f"--grid names {name} more than once", remedy="put all its values behind one"))
        named[name] = values
    axes = {**(axes or {}), **named}
    for name, values in axes.items():
        if len(set(values)) < len(values):
            problems.append(Problem(f"the grid has a value of {name} twice: {', '.join(values)}"))
        problems.add(
            Problem(f"the grid has the value {value!r} for {name}", "no word of a command line holds that", "", path)
            for value in values
            if not _fits_command_line(value)
        )
    problems.raise_any(UsageError)
    return axes


def _fits_command_line(value: str) -> bool:
    """Whether a process can be given a word: no null character, and no half of one in UTF-16."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _read_file(path: Path) -> dict[str, list[str]]:
    """Texts as they stand there: `1e-5` stays `1e-5`."""
    entries = read_config_file(path)
    closed = [
        item for item in entries for word in item.words or () if not may_stand_in_file(_clean(item.name), (word,))
    ]
    if closed:
        raise UsageError(*(explain_only_typed(_clean(item.name), item.path, item.line) for item in closed))
    return {_clean(entry.name): list(entry.words or ["None"]) for entry in entries}


def _clean(name: str) -> str:
    return name.strip().lstrip("-").replace("-", "_")


def make_cells(axes: Mapping[str, Sequence[str]]) -> list[Cell]:
    """Every combination, the last axis fastest; named by the axes that vary."""
    varied = [name for name, values in axes.items() if len(values) > 1] or list(axes)
    shorts = [name.rpartition(".")[2] for name in varied]
    labels = {name: short if shorts.count(short) == 1 else name for name, short in zip(varied, shorts, strict=True)}
    combinations = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    names = [_name({label: values[name] for name, label in labels.items()}) for values in combinations]
    folded = [name.casefold() for name in names]
    return [
        Cell(name if folded.count(name.casefold()) == 1 else f"{name[:NAME_LENGTH]}-{_digest(values)}", values)
        for name, values in zip(names, combinations, strict=True)
    ]


def _name(values: Mapping[str, str]) -> str:
    """`lr=1e-5,seed=1`, of characters that every file system takes; of a path its last part."""
    parts = [f"{label}={_UNFIT.sub('-', Path(value).name or value).strip('-')}" for label, value in values.items()]
    name = ",".join(parts) or "run"
    return name if len(name) <= NAME_LENGTH else f"{name[:NAME_LENGTH]}-{_digest(values)}"


def _digest(values: Mapping[str, str]) -> str:
    return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:8]
