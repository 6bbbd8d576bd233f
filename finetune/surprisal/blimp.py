"""BLiMP (Warstadt et al. 2020): minimal pairs of an acceptable and an unacceptable sentence, one paradigm a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from finetune.data.files import iterate_lines, listed, raise_problems
from finetune.data.json_values import parse_json
from finetune.errors import DataError, Problem, ProblemList

TEXT_KEYS = ("sentence_good", "sentence_bad")
NAME_KEYS = ("UID", "field", "linguistics_term", "pairID")


@dataclass(frozen=True)
class MinimalPair:
    """Two sentences of which one is acceptable, and the phenomenon that tells them apart."""

    good: str
    bad: str
    paradigm: str
    field: str
    term: str
    pair: str


def read_blimp(folder: Path) -> list[MinimalPair]:
    """Every pair of the `*.jsonl(.gz)` files of a folder, files in the order of their names.

    Raises:
        DataError: no folder, no such files, or lines that are no minimal pairs, each with its place.
    """
    if not folder.is_dir():
        raise DataError(Problem("there is no such folder", remedy="check --blimp_dir", path=folder))
    paths = sorted(path for path in folder.iterdir() if path.name.removesuffix(".gz").endswith(".jsonl"))
    if not paths:
        held = listed(sorted(path.name for path in folder.iterdir()))
        raise DataError(Problem("the folder has no .jsonl or .jsonl.gz files", f"it holds {held}", path=folder))
    problems = ProblemList()
    pairs = [pair for path in paths for pair in problems.attempt(_read_file, path) or ()]
    problems.raise_any()
    return pairs


def _read_file(path: Path) -> list[MinimalPair]:
    problems: list[Problem] = []
    pairs = list(_read_pairs(path, problems))
    raise_problems(problems, path)
    return pairs


def _read_pairs(path: Path, problems: list[Problem]) -> Iterator[MinimalPair]:
    for number, line in enumerate(iterate_lines(path), start=1):
        if not line.strip():
            continue
        try:
            record = parse_json(line)
        except ValueError as error:
            problems.append(Problem(f"the line is no JSON ({error})", path=path, line=number))
            continue
        missing = _missing_keys(record)
        if missing:
            problems.append(Problem(f"the pair lacks {listed(missing)}", "", "fetch BLiMP again", path, number))
            continue
        paradigm, field, term, pair = (str(record.get(name, "")) for name in NAME_KEYS)
        yield MinimalPair(record["sentence_good"], record["sentence_bad"], paradigm, field, term, pair)


def _missing_keys(record: object) -> list[str]:
    if not isinstance(record, dict):
        return ["every key (it is no object)"]
    needed = (*((name, str) for name in TEXT_KEYS), ("UID", str), ("field", str))
    return [name for name, kind in needed if not isinstance(record.get(name), kind)]
