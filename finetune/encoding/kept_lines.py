"""Encoded lines as bytes, so that a cluster's work on a corpus can wait on the disk: a NumPy archive, without pickles."""

from __future__ import annotations

from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from finetune.encoding.lines import EncodedLines
from finetune.run.engines import Keeping, kept_beside
from finetune.run.manifest import library_versions


def keep_lines(store: Path) -> Keeping:
    """Keeps what is encoded for a token store beside it; its name says of what text, by what tokenizer and settings."""
    return Keeping(kept_beside(store), lambda: [store.name, library_versions()], pack_lines, unpack_lines)


def pack_lines(lines: EncodedLines) -> bytes:
    buffer = BytesIO()
    values = {item.name: getattr(lines, item.name) for item in fields(lines)}
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in values.items() if value is not None}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def unpack_lines(content: bytes) -> EncodedLines:
    with np.load(BytesIO(content), allow_pickle=False) as archive:
        values: dict[str, Any] = {name: archive[name] for name in archive.files}
    return EncodedLines(**{name: value if value.ndim else value.item() for name, value in values.items()})
