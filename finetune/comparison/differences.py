"""What differs between runs beside their answers: arguments, data, versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.comparison.runs import ComparedRun
from finetune.page.environment import show_value
from finetune.page.parts import Cell, Table
from finetune.run.comparing import NOT_COMPARED

NOT_SET = "not set"


def differing_arguments(runs: Sequence[ComparedRun]) -> Table:
    """Arguments that are not the same in all runs, but for those that change no result."""
    values = [run.folder.manifest.get("arguments") or {} for run in runs]
    return _table("Arguments that differ", "argument", runs, values, NOT_COMPARED)


def differing_data(runs: Sequence[ComparedRun]) -> Table:
    """Files by their names, with the first digits of their checksums."""
    values = [
        {
            Path(name).name: str(facts.get("sha256"))[:16]
            for name, facts in (run.folder.manifest.get("inputs") or {}).items()
        }
        for run in runs
    ]
    return _table("Files that differ (sha256)", "file", runs, values)


def differing_versions(runs: Sequence[ComparedRun]) -> Table:
    """Packages, the commit, the machine."""
    facts = ("git_commit", "host")
    values = [
        {**(run.folder.manifest.get("versions") or {}), **{name: run.folder.manifest.get(name) for name in facts}}
        for run in runs
    ]
    return _table("Versions and machines that differ", "package", runs, values)


def _table(
    caption: str,
    first: str,
    runs: Sequence[ComparedRun],
    values: Sequence[Mapping[str, Any]],
    left_out: frozenset[str] = frozenset(),
) -> Table:
    names = dict.fromkeys(name for side in values for name in side if name not in left_out)
    rows: list[list[Cell]] = [
        [name, *(show_value(side[name]) if name in side else NOT_SET for side in values)]
        for name in names
        if any(side.get(name) != values[0].get(name) for side in values)
    ]
    return Table(caption, [first, *(run.name for run in runs)], rows)
