"""A table that grows over interruptions: parts on disk that are whole up to a step, one file at the end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from finetune.surprisal.table_files import TableFile

OPEN = "open.parquet"
ROWS_AT_ONCE = 1 << 16


class GrowingTable:
    """Rows are appended to an open part; `close_part(number)` makes it stay, `drop_after(number)` takes parts back.

    >>> table = GrowingTable(folder / "metrics.parts")
    >>> table.drop_after(checkpoint.step)
    >>> table.write(chunk); table.close_part(step)
    >>> table.finish(folder / "metrics.csv.gz")
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: TableFile | None = None

    def write(self, chunk: pa.Table) -> None:
        """Append rows to the open part.

        Raises:
            OSError: the disk is full.
        """
        if self._open is None:
            self._open = TableFile(self.folder / OPEN)
        self._open.write(chunk)

    def close_part(self, number: int) -> None:
        """Keep what was written since the last part under a number; numbers must rise."""
        if self._open is None:
            return
        self._open.close()
        self._open = None
        (self.folder / OPEN).replace(self._path(number))

    def drop_after(self, number: int) -> None:
        """Remove the parts of higher numbers, and what no part holds yet."""
        self.drop_open()
        for path in [*self.parts(), self.folder / OPEN]:
            if path.name == OPEN or int(path.stem) > number:
                path.unlink(missing_ok=True)

    def drop_open(self) -> None:
        """Forget what was written since the last part."""
        if self._open is not None:
            self._open.discard()
            self._open = None

    def numbers(self) -> frozenset[int]:
        """Of the parts that are there."""
        return frozenset(int(path.stem) for path in self.parts())

    def parts(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.parquet") if path.name != OPEN)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:09d}.parquet"

    def read(self) -> Iterator[pa.Table]:
        """The rows of all parts in order, a bounded number at once."""
        for path in self.parts():
            for batch in pq.ParquetFile(path).iter_batches(batch_size=ROWS_AT_ONCE):
                yield pa.Table.from_batches([batch])

    def finish(self, path: Path) -> int:
        """Write one file of all parts and remove them; returns its number of rows."""
        with TableFile(path) as table:
            for chunk in self.read():
                table.write(chunk)
        self.discard()
        return table.rows

    def discard(self) -> None:
        """Remove all parts, or none: some of them would pass for a table."""
        self.drop_open()
        gone = self.folder.with_name(f"{self.folder.name}.deleted")
        shutil.rmtree(gone, ignore_errors=True)
        if self.folder.is_dir():
            shutil.rmtree(self.folder.rename(gone))
