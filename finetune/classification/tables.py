"""Files, folders and data sets of the hub that hold texts -> tables by split, with whatever columns they have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from finetune.arguments.nearest import nearest
from finetune.classification.arguments import ClassificationDataArguments, ColumnArguments, split_names
from finetune.classification.corpora import NAMED
from finetune.data import hub
from finetune.data.corpus import SPLITS
from finetune.data.files import find_paths, listed
from finetune.data.row_files import RowTable, merge_tables, read_row_file, rows_of_dataset
from finetune.data.sources import Patterns, find_in_folder
from finetune.errors import DataError, Problem, ProblemList

SUFFIXES = ("jsonl", "json", "csv", "tsv", "parquet")
FOLDER_PATTERNS: Patterns = {
    split: [f"{name}.{suffix}" for suffix in SUFFIXES for name in names] + [f"{name}-*.parquet" for name in names]
    for split, names in hub.SPLIT_NAMES.items()
}

Tables = dict[str, RowTable]


def find_tables(
    data: ClassificationDataArguments, columns: ColumnArguments
) -> tuple[str, Tables, dict[str, list[Path]]]:
    """The name of what was given, its tables by split, and the files that they were read from.

    Raises:
        DataError: every file that is missing or broken; a folder without a corpus; a data set out of reach.
    """
    if data.dataset_name and not Path(data.dataset_name).expanduser().is_dir():
        return data.dataset_name, _hub_tables(data), {}
    folder = data.dataset_name or data.data_dir
    if folder and hub.is_saved_dataset(Path(folder).expanduser()):
        saved = hub.read_saved_dataset(Path(folder).expanduser())
        return folder, {split: rows_of_dataset(rows) for split, rows in saved.items()}, {}
    files = _folder_files(Path(folder).expanduser()) if folder else _typed_files(data)
    problems = ProblemList()
    names, delimiter = split_names(columns.column_names), columns.csv_delimiter
    tables: Tables = {}
    for split, paths in files.items():
        parts = [
            problems.attempt(read_row_file, path, column_names=names, delimiter=delimiter, key=columns.field)
            for path in paths
        ]
        merged = [part for part in parts if part is not None]
        if len(merged) == len(paths):
            tables[split] = merge_tables(merged)
    problems.raise_any()
    return folder or files[next(iter(files))][0].name, tables, files


def _folder_files(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise DataError(Problem("no such folder", remedy="check --data_dir", path=folder))
    files = find_in_folder(folder, FOLDER_PATTERNS)
    if not files:
        names = listed(sorted(path.name for path in folder.iterdir()))
        allowed = "files like train.jsonl, dev.csv and test.tsv, or what save_to_disk of datasets writes, are read"
        raise DataError(Problem(f"this folder holds no corpus, but {names}", allowed, "", folder))
    return files


def _typed_files(data: ClassificationDataArguments) -> dict[str, list[Path]]:
    typed = {split: (f"--{split}_file", getattr(data, f"{split}_file")) for split in SPLITS}
    problems = ProblemList()
    files = {
        split: paths
        for split, (flag, pattern) in typed.items()
        if pattern and (paths := problems.attempt(find_paths, pattern, flag=flag))
    }
    problems.raise_any()
    if not files:
        raise DataError(Problem("there is no data", "", "add --dataset_name, --data_dir or --train_file"))
    return files


def _hub_tables(data: ClassificationDataArguments) -> Tables:
    name = data.dataset_name or ""
    chosen = {split: wanted for split in SPLITS if (wanted := getattr(data, f"{split}_split_name", None))}
    try:
        loaded = hub.load_hub_dataset(name, data.dataset_config_name, chosen)
    except DataError as error:
        match = nearest(name, NAMED)
        if match is None:
            raise
        raise DataError(replace(error.problems[0], allowed=f"did you mean {match}"), *error.problems[1:]) from error
    removed = split_names(data.remove_splits)
    tables = {split: rows_of_dataset(rows) for split, rows in loaded.items() if split not in removed}
    if not tables:
        raise DataError(Problem(f"{name} has no split called train, validation or test"))
    return tables
