"""What the data of a run look like: sizes, lengths and labels of every split, for whoever draws them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from finetune.report.files import DATA_SUMMARY
from finetune.run.manifest import write_json_atomically
from finetune.supervised.task import SupervisedTask

LABEL_COLUMNS = ("tags", "label")


def write_data_summary(folder: Path, task: SupervisedTask) -> Path:
    """Write `data_summary.json`: of each split its examples, how many rows have which length, and its labels, counted."""
    splits = {name: summarise_split(split, task.rows(name)) for name, split in task.corpus.splits.items()}
    write_json_atomically(folder / DATA_SUMMARY, splits)
    return folder / DATA_SUMMARY


def summarise_split(split: Dataset, rows: Dataset | None) -> dict[str, Any]:
    """`lengths` are subwords of encoded rows, special tokens included; `labels` are those of words or of texts."""
    facts: dict[str, Any] = {"examples": len(split)}
    if rows is not None and "length" in rows.column_names:
        facts["lengths"] = count_lengths(np.asarray(rows.with_format("numpy")["length"][:]))
    column = next((name for name in LABEL_COLUMNS if name in split.column_names), None)
    return facts if column is None else facts | {"labels": count_labels(split, column)}


def write_length_summary(folder: Path, lengths: Mapping[str, npt.NDArray[np.integer] | None]) -> Path:
    """Write `data_summary.json` of unlabelled text, from the lengths of each split (examples,); None is left out."""
    splits = {
        name: {"examples": len(found), "lengths": count_lengths(found)}
        for name, found in lengths.items()
        if found is not None
    }
    write_json_atomically(folder / DATA_SUMMARY, splits)
    return folder / DATA_SUMMARY


def count_lengths(lengths: npt.NDArray[np.integer]) -> dict[int, int]:
    """How many rows (rows,) have which length, the shortest first."""
    found, counts = np.unique(lengths, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def count_labels(split: Dataset, column: str) -> dict[str, int]:
    """Each label with its number, the most frequent first."""
    values = split.with_format("arrow")[:][column]
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        values = pc.list_flatten(values)
    counted = Counter({str(entry["values"]): entry["counts"] for entry in pc.value_counts(values).to_pylist()})
    return dict(counted.most_common())
