"""Parquet files, as the hub's data sets are converted to; the names of tag ids are in their metadata."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features

from finetune.data.files import missing_file
from finetune.errors import DataError, Problem
from finetune.tagging.formats.records import read_records
from finetune.tagging.formats.sentences import Sentences, TagColumns


def read_parquet(path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a Parquet file: word lists with tags, or text with spans.

    Raises:
        DataError: the file is missing or no Parquet file; and as `read_records`, with row numbers for lines.
    """
    if not path.is_file():
        raise DataError(missing_file(path))
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, pa.ArrowIOError) as error:
        raise DataError(Problem(f"this is no Parquet file ({str(error).splitlines()[0]})", path=path)) from error
    return read_rows(Dataset(table), path, columns)


def read_rows(rows: Dataset, path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a data set of any columns; `path` says in messages where it is from."""
    records = rows.with_format(None).to_list()
    return read_records(records, range(1, len(records) + 1), path, columns, tag_names(rows.features))


def tag_names(features: Features) -> dict[str, list[str]]:
    """The declared names of tag ids, by column."""
    inner = {name: getattr(feature, "feature", feature) for name, feature in features.items()}
    return {name: list(feature.names) for name, feature in inner.items() if isinstance(feature, ClassLabel)}
