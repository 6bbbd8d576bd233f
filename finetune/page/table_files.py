"""Tables that commands wrote (csv.gz, Parquet), read for pages: the columns that are asked for, `NA` as missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

MISSING = "NA"


def list_columns(path: Path) -> list[str]:
    """The names of the columns, without the rows."""
    if path.suffix == ".parquet":
        return list(pq.read_schema(path).names)
    with pa.CompressedInputStream(pa.OSFile(str(path)), "gzip") as stream, pc.open_csv(stream) as reader:
        return list(reader.schema.names)


def read_columns(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole table, or some of its columns."""
    if path.suffix == ".parquet":
        return _decode(pq.read_table(path, columns=None if columns is None else list(columns)))
    options = pc.ConvertOptions(
        null_values=[MISSING],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        include_columns=list(columns or []),
    )
    lines = pc.ParseOptions(newlines_in_values=True)
    with pa.CompressedInputStream(pa.OSFile(str(path)), "gzip") as stream:
        return pc.read_csv(stream, convert_options=options, parse_options=lines)


def _decode(table: pa.Table) -> pa.Table:
    """Columns of dictionaries as what they stand for: each block of rows has its own, which Arrow does not unify."""
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            chunks = [chunk.dictionary_decode() for chunk in table.column(place).chunks]
            table = table.set_column(place, field.name, pa.chunked_array(chunks, field.type.value_type))
    return table
