"""Tables of any length, chunk by chunk as csv.gz or Parquet: memory holds one chunk, readers see whole files only."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from finetune.errors import DataError, Problem
from finetune.run.atomic_files import AtomicFile

FORMATS = {"csv": ".csv.gz", "parquet": ".parquet"}
NOT_AVAILABLE = "NA"
GZIP_LEVEL = 4  # a third of the time of level 9 for a tenth more bytes
CSV_ROWS = 4096  # at once: texts repeat on each row of theirs, and are spelled out here


class TableFile:
    """A table that grows; the first chunk decides its columns and their types.

    >>> with TableFile(folder / "results.parquet") as table:
    ...     table.write(chunk)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._file: AtomicFile | None = None
        self._schema: pa.Schema | None = None
        self._writer: Any = None
        self._stream: gzip.GzipFile | None = None

    def write(self, chunk: pa.Table) -> None:
        """Append rows.

        Raises:
            DataError: the columns differ from those of the first chunk.
            OSError: the disk is full.
        """
        if self._schema is None:
            self._open(chunk.schema)
        elif chunk.schema.names != self._schema.names:
            found = f"the columns change from {self._schema.names} to {chunk.schema.names} in the middle of a table"
            raise DataError(Problem(found, path=self.path))
        self.rows += chunk.num_rows
        if self._stream is None:
            self._writer.write_table(chunk.cast(self._schema))
            return
        for batch in chunk.to_batches(max_chunksize=CSV_ROWS):
            self._stream.write(csv_bytes(batch))

    def _open(self, schema: pa.Schema) -> None:
        self._file = AtomicFile(self.path)
        self._schema, stream = schema, self._file.stream
        if self.path.suffix == ".parquet":
            self._writer = pq.ParquetWriter(stream, schema, compression="zstd")
            return
        self._stream = gzip.GzipFile(filename="", mode="wb", fileobj=stream, compresslevel=GZIP_LEVEL, mtime=0)
        self._stream.write(csv_header(schema.names))

    def close(self) -> None:
        """Give the file its name; a table without rows leaves no file."""
        if self._file is None:
            return
        try:
            self._shut()
        except BaseException:
            self._file.discard()
            raise
        self._file.commit()

    def _shut(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._stream is not None:
            self._stream.close()

    def __enter__(self) -> TableFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def discard(self) -> None:
        """Leave no file."""
        if self._file is not None:
            try:
                self._shut()
            finally:
                self._file.discard()


def csv_header(names: Sequence[str]) -> bytes:
    """The first line of a CSV file."""
    return (",".join(_quoted(pa.array(names, pa.string())).to_pylist()) + "\n").encode("utf-8")


def csv_bytes(batch: pa.RecordBatch) -> bytes:
    """Rows as CSV (RFC 4180, line ends `\\n`), cells in quotes only where they need them; what is missing is `NA`.

    Joined column by column in Arrow. A text that reads `NA` is in quotes, to tell it from what is missing.
    """
    cells = [_as_text(column) for column in batch.columns]
    lines = pc.binary_join_element_wise(pc.binary_join_element_wise(*cells, ","), "", "\n")
    _, offsets, data = lines.cast(pa.large_string()).buffers()
    end = np.frombuffer(offsets, np.int64)[len(lines)] if len(lines) else 0
    return bytes(memoryview(data)[:end]) if end else b""


def _as_text(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        return pc.fill_null(pc.take(_quoted(column.dictionary), column.indices), NOT_AVAILABLE)
    if pa.types.is_string(column.type):
        return pc.fill_null(_quoted(column), NOT_AVAILABLE)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return pc.fill_null(column.cast(pa.string()), NOT_AVAILABLE)


def _quoted(texts: pa.Array) -> pa.Array:
    """Texts in quotes where CSV asks for them."""
    special = pc.match_substring_regex(texts, f'[",\r\n]|^{NOT_AVAILABLE}$')
    if not pc.any(special).as_py():
        return texts
    doubled = pc.replace_substring(texts, '"', '""')
    return pc.if_else(special, pc.binary_join_element_wise('"', doubled, '"', ""), texts)


class PrintedTable:
    """The same rows on standard output as plain CSV, with one header."""

    def __init__(self) -> None:
        self.rows = 0
        self._has_header = False

    def write(self, chunk: pa.Table) -> None:
        """Print rows."""
        if not self._has_header:
            print(csv_header(chunk.schema.names).decode("utf-8"), end="")
            self._has_header = True
        for batch in chunk.to_batches(max_chunksize=CSV_ROWS):
            print(csv_bytes(batch).decode("utf-8"), end="")
        self.rows += chunk.num_rows

    def __enter__(self) -> PrintedTable:
        return self

    def __exit__(self, *_: object) -> None:
        pass
