"""BLiMP (Warstadt et al. 2020): minimal pairs of an acceptable and an unacceptable sentence, one paradigm a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetune.data.files import iterate_lines, listed, raise_problems
from finetune.data.json_values import parse_json
from finetune.errors import DataError, Problem, ProblemList
from finetune.surprisal.pair_arguments import BAD, GOOD
from finetune.surprisal.pair_files import MinimalPair, cut_name, find_faults

FACTS = {"term": "linguistics_term", "pair": "pairID"}


def read_blimp(folder: Path, *, good: str = GOOD, bad: str = BAD) -> list[MinimalPair]:
    """Every pair of the `*.jsonl(.gz)` files of a folder, files in the order of their names.

    A pair that names no paradigm (`UID`) is of that of its file's name; one that names no `field` is of none.

    Raises:
        DataError: no folder, no such files, or lines that are no minimal pairs, each with its place.
    """
    paths = find_blimp(folder)
    problems = ProblemList()
    pairs = [pair for path in paths for pair in problems.attempt(_read_file, path, good, bad) or ()]
    problems.raise_any()
    if not pairs:
        raise DataError(Problem("the files hold no pairs", path=folder))
    return pairs


def find_blimp(folder: Path) -> list[Path]:
    """The files of a folder that hold pairs.

    Raises:
        DataError: no folder, or none of such files.
    """
    if not folder.is_dir():
        raise DataError(Problem("there is no such folder", remedy="check --blimp_dir", path=folder))
    paths = sorted(path for path in folder.iterdir() if path.name.removesuffix(".gz").endswith(".jsonl"))
    if not paths:
        held = listed(sorted(path.name for path in folder.iterdir()))
        remedy = "other files of pairs are read with --evaluate minimal_pairs --pairs_file"
        raise DataError(Problem("the folder has no .jsonl or .jsonl.gz files", f"it holds {held}", remedy, folder))
    return paths


def _read_file(path: Path, good: str, bad: str) -> list[MinimalPair]:
    problems: list[Problem] = []
    pairs = list(_read_pairs(path, good, bad, problems))
    raise_problems(problems, path)
    return pairs


def _read_pairs(path: Path, good: str, bad: str, problems: list[Problem]) -> Iterator[MinimalPair]:
    for number, line in enumerate(iterate_lines(path), start=1):
        if not line.strip():
            continue
        try:
            record = parse_json(line)
        except ValueError as error:
            problems.append(Problem(f"the line is no JSON ({error})", path=path, line=number))
            continue
        faults = find_faults(record, good, bad, path, number)
        problems.extend(faults)
        if not faults:
            yield MinimalPair(record[good], record[bad], _groups(record, path), _facts(record))


def _groups(record: Mapping[str, Any], path: Path) -> dict[str, str]:
    return {"paradigm": str(record.get("UID", cut_name(path))), "field": str(record.get("field", "none"))}


def _facts(record: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(record.get(key, "")) for name, key in FACTS.items()}
