"""Tables and facts beside them as bytes, which processes tell each other and parts of interrupted work are kept as."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa


def encode_tables(facts: Mapping[str, Any], tables: Sequence[pa.Table]) -> bytes:
    """A line of JSON, of `facts` and how long each table is; then the tables as Arrow writes them to a stream."""
    parts = [_encode(table) for table in tables]
    return json.dumps({"facts": facts, "bytes": [*map(len, parts)]}).encode() + b"\n" + b"".join(parts)


def decode_tables(content: bytes) -> tuple[dict[str, Any], list[pa.Table]]:
    """Facts and tables of `encode_tables`."""
    line, _, rest = content.partition(b"\n")
    told, tables = json.loads(line), []
    for size in told["bytes"]:
        tables.append(pa.ipc.open_stream(rest[:size]).read_all())
        rest = rest[size:]
    return told["facts"], tables


def _encode(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())
