"""Parquet files, as the hub's data sets are converted to; the names of tag ids are in their metadata."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finetune.data.parquet_files import read_parquet_table
from finetune.data.row_files import declared_names
from finetune.tagging.formats.records import read_records
from finetune.tagging.formats.sentences import Sentences, TagColumns

if TYPE_CHECKING:
    from datasets import Dataset


def read_parquet(path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a Parquet file: word lists with tags, or text with spans.

    Raises:
        DataError: the file is missing or no Parquet file; and as `read_records`, with row numbers for lines.
    """
    from datasets import Dataset

    return read_rows(Dataset(read_parquet_table(path)), path, columns)


def read_rows(rows: Dataset, path: Path, columns: TagColumns) -> Sentences:
    """The sentences of a data set of any columns; `path` says in messages where it is from."""
    records = rows.with_format(None).to_list()
    return read_records(records, range(1, len(records) + 1), path, columns, declared_names(rows.features))
