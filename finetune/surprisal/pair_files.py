"""Files of minimal pairs of any benchmark: two texts a row, in columns of any names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.data.files import find_paths, listed, raise_problems
from finetune.data.row_files import RowTable, read_row_file
from finetune.errors import DataError, Problem, ProblemList

REMEDY = "name the columns of the two texts by --good_column and --bad_column"


@dataclass(frozen=True)
class MinimalPair:
    """Two texts of which one is acceptable; the groups that it is counted in, and what else is known of it."""

    good: str
    bad: str
    groups: Mapping[str, str]  # kind of group -> which one
    facts: Mapping[str, str]


def read_pair_files(patterns: Sequence[str], *, good: str, bad: str, groups: Sequence[str] = ()) -> list[MinimalPair]:
    """The pairs of all files; each is of the group of its file, and of those that the columns `groups` name.

    Raises:
        DataError: files that are missing or no rows, columns that they lack, rows without two texts, each with its place.
    """
    problems = ProblemList()
    paths = [path for pattern in patterns for path in problems.attempt(find_paths, pattern, flag="--pairs_file") or ()]
    pairs = [pair for path in paths for pair in problems.attempt(_read_file, path, good, bad, groups) or ()]
    problems.raise_any()
    return pairs


def cut_name(path: Path) -> str:
    """`agreement` of `data/agreement.jsonl.gz`."""
    return Path(path.name.removesuffix(".gz")).stem


def _read_file(path: Path, good: str, bad: str, groups: Sequence[str]) -> list[MinimalPair]:
    table = read_row_file(path)
    missing = [name for name in dict.fromkeys((good, bad, *groups)) if name not in table.columns]
    if missing:
        found = f"there is no column {listed(missing)}; the columns are {listed(list(table.columns))}"
        remedy = REMEDY if {good, bad} & set(missing) else "check --group_columns"
        raise DataError(Problem(found, remedy=remedy, path=path))
    rows = [{name: values[number] for name, values in table.columns.items()} for number in range(len(table))]
    problems = [
        fault for row, line in zip(rows, table.lines, strict=True) for fault in find_faults(row, good, bad, path, line)
    ]
    raise_problems(problems, path)
    return [_make_pair(row, table, number, good, bad, groups) for number, row in enumerate(rows)]


def _make_pair(
    row: Mapping[str, Any], table: RowTable, number: int, good: str, bad: str, groups: Sequence[str]
) -> MinimalPair:
    named = {name: "none" if row[name] is None else str(row[name]) for name in groups}
    file = cut_name(table.path) if table.path else ""
    return MinimalPair(row[good], row[bad], {"file": file, **named}, {"row": str(number)})


def find_faults(record: object, good: str, bad: str, path: Path, line: int) -> list[Problem]:
    """What is wrong with one row as a pair."""
    if not isinstance(record, Mapping):
        return [Problem("the line is JSON, but no object", "", "", path, line or None)]
    lacking = [name for name in (good, bad) if name not in record]
    if lacking:
        found = f"the pair lacks {listed(lacking)}; its keys are {listed(list(record))}"
        return [Problem(found, "", REMEDY, path, line or None)]
    wrong = [name for name in (good, bad) if not isinstance(record[name], str) or not record[name].strip()]
    return [Problem(f"{name} is no text: {record[name]!r}", "", "", path, line or None) for name in wrong]
