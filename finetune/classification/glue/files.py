"""GLUE in its official layout -> a corpus: tab-separated files without quoting, some with a byte order mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finetune.arguments.nearest import nearest
from finetune.classification.glue.tasks import GlueTask, folder_names
from finetune.data.corpus import SPLITS, Corpus, build_dataset
from finetune.data.files import listed, raise_problems, read_lines
from finetune.errors import DataError, Problem, ProblemList

UNDECIDED = "-"  # SNLI and early MNLI: the annotators did not agree
MISSING = ("", "-1")


@dataclass
class GlueRows:
    """The rows of one file. `labels` is None where the file has no labels (test sets)."""

    path: Path
    texts: list[str]
    pairs: list[str] | None
    labels: list[str] | list[float] | None
    lines: list[int]
    notes: list[str] = field(default_factory=list)


def load_glue_corpus(task: GlueTask, data_dir: Path, splits: Sequence[str] = SPLITS) -> Corpus:
    """Read the splits of a task that are there from its folder, or the folder above it.

    Raises:
        DataError: none of the files is there, or any of them is broken; all problems of all files.
    """
    return read_glue_splits(
        task, {split: path for split, path in find_glue_files(task, data_dir).items() if split in splits}
    )


def read_glue_splits(task: GlueTask, paths: Mapping[str, Path]) -> Corpus:
    """A corpus of files of the official layout.

    Raises:
        DataError: all problems of all files.
    """
    problems = ProblemList()
    rows = {split: problems.attempt(read_glue_file, path, task) for split, path in paths.items()}
    problems.raise_any()
    read = {split: part for split, part in rows.items() if part is not None}
    notes = [note for part in read.values() for note in part.notes]
    notes += [note for split, part in read.items() for note in _describe_size(task, split, len(part.texts))]
    datasets = {split: build_dataset(_columns(part)) for split, part in read.items()}
    files = {split: [path] for split, path in paths.items()}
    return Corpus(task.name, datasets, list(task.labels) or None, files, notes)


def find_glue_files(task: GlueTask, data_dir: Path) -> dict[str, Path]:
    """The file of each split: in `data_dir`, or in its folder named as the task.

    Raises:
        DataError: the folder is missing or holds none of them.
    """
    if not data_dir.is_dir():
        raise DataError(Problem("there is no such folder", remedy="check --data_dir", path=data_dir))
    names = folder_names(task)
    inside = sorted(path for path in data_dir.iterdir() if path.is_dir() and path.name.lower() in names)
    for folder in (*inside, data_dir):
        found = {split: path for split, stems in task.stems.items() if (path := find_tsv(folder, stems))}
        if found:
            return {split: found[split] for split in SPLITS if split in found}
    wanted = ", ".join(f"{stems[0]}.tsv" for stems in task.stems.values())
    raise DataError(
        Problem(
            f"no file of GLUE {task.folder} is there (it holds {listed(sorted(p.name for p in data_dir.iterdir()))})",
            f"{wanted} (or .tsv.gz) are looked for here and in {data_dir / task.folder}",
            "fetch the task from https://gluebenchmark.com/tasks, or give its folder with --data_dir",
            data_dir,
        )
    )


def find_tsv(folder: Path, stems: Sequence[str]) -> Path | None:
    """`stem.tsv`, `stem.tsv.gz`, or the only `stem.*.tsv`: a part of a file (`train.first20000.tsv.gz`)."""
    for stem in stems:
        for suffix in (".tsv", ".tsv.gz"):
            if (folder / f"{stem}{suffix}").is_file():
                return folder / f"{stem}{suffix}"
        parts = sorted([*folder.glob(f"{stem}.*.tsv"), *folder.glob(f"{stem}.*.tsv.gz")])
        if len(parts) == 1:
            return parts[0]
    return None


def read_glue_file(path: Path, task: GlueTask) -> GlueRows:
    """The rows of one file of the official layout.

    Raises:
        DataError: columns are missing, rows have too few fields, or labels are unknown; each with its line.
    """
    content = read_lines(path)
    table = [line.split("\t") for line in content.lines]
    header, first = _find_header(table[0], task, path)
    places = {name: header.index(name) for name in header}
    problems: list[Problem] = []
    rows = GlueRows(path, [], [] if task.text_pair else None, _no_labels(task, places), [], list(content.notes))
    broken = undecided = 0
    for number, fields in enumerate(table[first:], start=first + 1):
        if len(fields) < len(header):
            broken += 1
            problems += [] if task.drops_broken_rows else [_short_row(fields, header, path, number)]
        elif rows.labels is not None and fields[places[task.label]] == UNDECIDED:
            undecided += 1
        else:
            problems += _take(rows, fields, places, task, number)
    rows.notes += _describe_dropped(path, broken if task.drops_broken_rows else 0, undecided)
    _check_labels_present(rows, task, problems)
    raise_problems(problems, path)
    return rows


def _find_header(first: list[str], task: GlueTask, path: Path) -> tuple[list[str], int]:
    """The column names and the index of the first row of data."""
    wanted = {task.text, *([task.text_pair] if task.text_pair else [])}
    if wanted <= set(first):
        return first, 1
    if task.headless and len(first) == len(task.headless):
        return list(task.headless), 0
    named = {"sentence1": task.text, "sentence2": task.text_pair, "label": task.label}  # exports of Hugging Face's copy
    renamed = [named.get(name) or name for name in first]
    if wanted <= set(renamed):
        return renamed, 1
    raise DataError(
        Problem(
            f"the first line has the fields {listed([repr(name) for name in first])}",
            f"a file of GLUE {task.folder} has the columns {' and '.join(sorted(repr(name) for name in wanted))}",
            "check that the file belongs to the task and is separated by tabs",
            path,
            1,
        )
    )


def _no_labels(task: GlueTask, places: dict[str, int]) -> list | None:
    return [] if task.label in places else None


def _short_row(fields: list[str], header: list[str], path: Path, line: int) -> Problem:
    return Problem(f"the row has {len(fields)} of {len(header)} fields", "fields are separated by tabs", "", path, line)


def _take(rows: GlueRows, fields: list[str], places: dict[str, int], task: GlueTask, number: int) -> list[Problem]:
    """Add one row; a label that cannot be read is kept as it stands and returned as a problem."""
    rows.texts.append(fields[places[task.text]])
    rows.lines.append(number)
    if rows.pairs is not None and task.text_pair:
        rows.pairs.append(fields[places[task.text_pair]])
    if rows.labels is None:
        return []
    value = fields[places[task.label]]
    label, problem = _read_score(value) if task.is_regression else _read_label(value, task)
    rows.labels.append(label)  # type: ignore[arg-type]
    return [Problem(problem, *_allowed(value, task), rows.path, number)] if problem else []


def _read_score(value: str) -> tuple[float | str, str]:
    if value in MISSING:
        return "", ""
    try:
        score = float(value)
    except ValueError:
        return 0.0, f"the score is {value!r}"
    return score, "" if 0.0 <= score <= 5.0 else f"the score is {value}"


def _read_label(value: str, task: GlueTask) -> tuple[str, str]:
    if value in MISSING:
        return "", ""
    if value in task.values:
        return task.labels[task.values.index(value)], ""
    return value, "" if value in task.labels else f"the label is {value!r}"


def _allowed(value: str, task: GlueTask) -> tuple[str, str]:
    if task.is_regression:
        return "scores from 0 to 5 are allowed", ""
    match = nearest(value, task.values)
    return f"{' and '.join(task.values)} are allowed" + (f", the nearest is {match}" if match else ""), ""


def _check_labels_present(rows: GlueRows, task: GlueTask, problems: list[Problem]) -> None:
    """A label column that is empty throughout is no label column; one that is empty here and there is broken."""
    if rows.labels is None:
        return
    empty = [number for number, label in zip(rows.lines, rows.labels, strict=True) if label == ""]
    if len(empty) == len(rows.labels):
        rows.labels = None
        return
    problems += [Problem("the row has no label", *_allowed("", task), rows.path, number) for number in empty]


def _describe_dropped(path: Path, broken: int, undecided: int) -> list[str]:
    notes = [f"{path}: {broken:,} rows with missing fields were dropped."] if broken else []
    return notes + ([f"{path}: {undecided:,} rows without an agreed label were dropped."] if undecided else [])


def _describe_size(task: GlueTask, split: str, size: int) -> list[str]:
    official = task.rows.get(split)
    if official in (None, size):
        return []
    return [f"GLUE {task.folder} {split} has {size:,} rows here; officially it has {official:,}."]


def _columns(rows: GlueRows) -> dict[str, Sequence[object]]:
    columns: dict[str, Sequence[object]] = {"text": rows.texts}
    if rows.pairs is not None:
        columns["text_pair"] = rows.pairs
    if rows.labels is not None:
        columns["label"] = rows.labels
    return columns | {"line": rows.lines}
