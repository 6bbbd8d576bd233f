"""Checks of a GLUE folder and of a GLUE submission: files, columns, values, numbers of rows."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from finetune.classification.glue.files import find_glue_files, read_glue_file
from finetune.classification.glue.tasks import TASKS, GlueTask
from finetune.data.archives import open_archive
from finetune.data.files import capped, decode_utf8, read_text
from finetune.errors import DataError, Problem, ProblemList

HEADER = ["index", "prediction"]


@dataclass(frozen=True)
class CheckedFile:
    """One file that was looked at: what it is, its rows, what is wrong with it."""

    task: str
    part: str
    path: Path
    rows: int
    expected: int
    problems: tuple[Problem, ...] = ()

    def __str__(self) -> str:
        verdict = "ok" if not self.problems else f"{len(self.problems)} problems"
        return f"{self.task:<8} {self.part:<11} {self.rows:>7,} of {self.expected:>7,} rows  {verdict:<12} {self.path}"


def check_glue_folder(data_dir: Path, tasks: Iterable[GlueTask] | None = None) -> list[CheckedFile]:
    """Read every file of the tasks, and compare its number of rows with the official one.

    `tasks` must all be there; without it, those that are there are checked.

    Raises:
        DataError: a task that was asked for, or every task, is missing.
    """
    missing = ProblemList()
    checked: list[CheckedFile] = []
    for task in tasks or TASKS:
        paths = missing.attempt(find_glue_files, task, data_dir) or {}
        checked += [_check_file(task, split, path) for split, path in paths.items()]
    if (tasks is not None and missing) or not checked:
        raise DataError(*dict.fromkeys(missing))
    return checked


def _check_file(task: GlueTask, split: str, path: Path) -> CheckedFile:
    expected = task.rows[split]
    try:
        rows = read_glue_file(path, task)
    except DataError as error:
        return CheckedFile(task.name, split, path, 0, expected, error.problems)
    problems = [] if len(rows.texts) == expected else [_wrong_size(path, len(rows.texts), expected)]
    if split != "test" and rows.labels is None:
        problems.append(Problem("the file has no labels", f"a column {task.label} is expected", path=path))
    return CheckedFile(task.name, split, path, len(rows.texts), expected, tuple(problems))


def is_submission(path: Path) -> bool:
    """Whether a path is a submission (a zip, or a folder of prediction files) and not a folder of GLUE data."""
    if path.is_file():
        return True
    return path.is_dir() and any((path / task.submission_file).is_file() for task in TASKS)


def check_submission(path: Path) -> list[CheckedFile]:
    """Check a submission: a folder, or a zip as gluebenchmark.com takes it.

    Every file must be called as the benchmark asks, begin with `index<TAB>prediction`, number its rows from 0, hold
    allowed predictions only, and have as many rows as the test set.

    Raises:
        DataError: there is nothing of that name, or no prediction file in it.
    """
    texts = _read_submission(path)
    known = {task.submission_file: task for task in TASKS}
    unknown = [name for name in texts if name not in known]
    checked = [_check_predictions(known[name], Path(name), text) for name, text in texts.items() if name in known]
    if not checked or unknown:
        names = ", ".join(known)
        problems = [Problem(f"{name} is not the name of a GLUE prediction file", names, path=path) for name in unknown]
        raise DataError(*(problems or [Problem("no prediction file is there", f"allowed are {names}", path=path)]))
    return checked


def _read_submission(path: Path) -> dict[str, str]:
    if path.is_dir():
        return {item.name: read_text(item) for item in sorted(path.glob("*.tsv"))}
    if not path.is_file():
        raise DataError(Problem("no such file or folder", remedy="check --check", path=path))
    if not zipfile.is_zipfile(path):
        return {path.name: read_text(path)}
    with open_archive(path, path) as archive:
        members = [name for name in archive.members if name.endswith(".tsv")]
        return {Path(name).name: decode_utf8(archive.read(name), path / name) for name in sorted(members)}


def _check_predictions(task: GlueTask, path: Path, text: str) -> CheckedFile:
    table = [line.split("\t") for line in text.replace("\r\n", "\n").removesuffix("\n").split("\n")]
    problems: list[Problem] = []
    if table[0] != HEADER:
        found = "\t".join(table[0])
        problems.append(Problem(f"the first line is {found!r}", "it must be index<TAB>prediction", path=path, line=1))
    rows = table[1:] if table[0] == HEADER else table
    for index, fields in enumerate(rows):
        problems += _check_prediction(task, fields, index, path, line=index + 2)
    expected = task.rows["test"]
    if len(rows) != expected:
        problems.append(_wrong_size(path, len(rows), expected))
    return CheckedFile(task.name, "predictions", path, len(rows), expected, tuple(capped(problems, path)))


def _check_prediction(task: GlueTask, fields: list[str], index: int, path: Path, line: int) -> list[Problem]:
    if len(fields) != 2:
        return [Problem(f"the row has {len(fields)} fields", "index and prediction are expected", "", path, line)]
    problems = []
    if fields[0] != str(index):
        problems.append(Problem(f"the index is {fields[0]!r}", f"{index} is expected here", "", path, line))
    if not _is_allowed(task, fields[1]):
        allowed = "a number from 0 to 5" if task.is_regression else " or ".join(task.values)
        problems.append(Problem(f"the prediction is {fields[1]!r}", f"{allowed} is expected", "", path, line))
    return problems


def _is_allowed(task: GlueTask, value: str) -> bool:
    if not task.is_regression:
        return value in task.values
    try:
        number = float(value)
    except ValueError:
        return False
    return math.isfinite(number) and 0.0 <= number <= 5.0


def _wrong_size(path: Path, rows: int, expected: int) -> Problem:
    return Problem(f"the file has {rows:,} rows", f"{expected:,} are expected", path=path)
