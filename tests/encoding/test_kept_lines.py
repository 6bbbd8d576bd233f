"""Encoded lines come back from bytes as they were."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from finetune.encoding.kept_lines import pack_lines, unpack_lines
from finetune.encoding.lines import EncodedLines

FULL = EncodedLines(
    ids=np.array([7, 65_000, 3], dtype=np.uint16), lengths=np.array([1, 2], dtype=np.int32),
    begins_document=np.array([True, False]), word_starts=np.array([True, True, False]), places=np.array([0, 5]),
    border_waits=True, lines_read=6, without_subwords=4, control_texts=1, own_starts=2, bytes_read=99, is_readable=True,
)  # fmt: skip
EMPTY = EncodedLines(
    np.empty(0, np.uint32), np.empty(0, np.int32), np.empty(0, bool), lines_read=3, bytes_read=3, is_readable=False
)


@pytest.mark.parametrize("lines", [FULL, EMPTY])
def test_lines_come_back_as_they_were(lines):
    back = unpack_lines(pack_lines(lines))
    for item in fields(lines):
        before, after = getattr(lines, item.name), getattr(back, item.name)
        assert type(before) is type(after)
        if isinstance(before, np.ndarray):
            assert before.dtype == after.dtype and before.tolist() == after.tolist()
            assert after.flags.writeable, "a border between two parts is written into them"
        else:
            assert before == after
