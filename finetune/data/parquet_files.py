"""Opening Parquet files, for every reader."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finetune.data.files import missing_file
from finetune.errors import DataError, Problem

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def open_parquet(path: Path) -> pq.ParquetFile:
    """A Parquet file, of which only the footer has been read.

    Raises:
        DataError: it is missing, may not be read, or is no Parquet file.
    """
    import pyarrow as pa  # every reader imports this file, few read Parquet
    import pyarrow.parquet as pq

    if path.is_dir():
        raise DataError(Problem("this is a folder", "one file is allowed", path=path))
    if not path.is_file():
        raise DataError(missing_file(path))
    try:
        return pq.ParquetFile(path)
    except PermissionError as error:
        raise DataError(Problem("the file may not be read (permission denied)", path=path)) from error
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise DataError(_damaged(error, path)) from error


def read_parquet_table(path: Path) -> pa.Table:
    """The whole content of a Parquet file.

    Raises:
        DataError: as `open_parquet`, or its content is damaged.
    """
    import pyarrow as pa

    file = open_parquet(path)
    try:
        return file.read()
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise DataError(_damaged(error, path)) from error


def _damaged(error: Exception, path: Path) -> Problem:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return Problem(f"this is no Parquet file ({reason})", remedy="fetch or write it again", path=path)
