from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.encoding.blocks import (
    DOCUMENT_START,
    WORD_START,
    Blocks,
    LinePacker,
    SentencePacker,
    StreamPacker,
    cut_lengths,
)
from finetune.encoding.lines import EncodedLines
from finetune.encoding.special_tokens import SpecialTokens

CLS, SEP, JOINT, END = 1, 2, 3, 4
SPECIALS = SpecialTokens(
    np.array([CLS], np.int32), np.array([SEP], np.int32), np.zeros(1, np.int8), np.zeros(1, np.int8), 0
)
NO_SPECIALS = SpecialTokens(*(np.zeros(0, np.int32),) * 2, *(np.zeros(0, np.int8),) * 2, 0)


def lines_of(rows: list[list[int]], begins: list[bool] | None = None) -> EncodedLines:
    return EncodedLines(
        ids=np.array([subword for row in rows for subword in row], dtype=np.uint16),
        lengths=np.array([len(row) for row in rows], dtype=np.int32),
        begins_document=np.array(begins if begins is not None else [False] * len(rows), dtype=bool),
    )


def rows_of(blocks: Blocks) -> list[list[int]]:
    return [row.tolist() for row in np.split(blocks.ids, np.cumsum(blocks.lengths)[:-1])] if len(blocks.lengths) else []


def pack_all(packer, batches) -> list[list[int]]:
    result = [row for batch in batches for row in rows_of(packer.pack(batch))]
    return result + rows_of(packer.finish())


def in_batches(rows, begins, cuts):
    edges = sorted({min(cut, len(rows)) for cut in cuts} | {0, len(rows)})
    return [lines_of(rows[a:b], begins[a:b]) for a, b in pairwise(edges)]


ROWS = st.lists(st.lists(st.integers(10, 9999), min_size=1, max_size=12), min_size=1, max_size=25)


def begins_for(rows, data):
    return [True, *data.draw(st.lists(st.booleans(), min_size=len(rows) - 1, max_size=len(rows) - 1))]


def reference_sentences(rows, begins, room, within_documents):
    """Greedy packing as one would write it by hand: parts that are never cut, a joint in front of each new line."""
    units = []
    for row, begin in zip(rows, begins, strict=True):
        for start in range(0, len(row), room):
            units.append((row[start : start + room], start == 0, begin and start == 0))
    blocks, current = [], None
    for body, is_line, begin in units:
        joint = [JOINT] if is_line else []
        if current is None or len(current) + len(joint) + len(body) > room or (within_documents and begin):
            if current is not None:
                blocks.append([CLS, *current, SEP])
            current = list(body)
        else:
            current += joint + body
    return [*blocks, [CLS, *current, SEP]]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), rows=ROWS, max_length=st.integers(3, 14), within=st.booleans())
def test_sentence_blocks_are_those_of_the_greedy_loop_for_any_batches(data, rows, max_length, within):
    begins = begins_for(rows, data)
    batches = in_batches(rows, begins, data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    packer = SentencePacker(max_length, SPECIALS, separator=np.array([JOINT]), within_documents=within)
    blocks = pack_all(packer, batches)
    assert blocks == reference_sentences(rows, begins, max_length - 2, within)
    assert max(map(len, blocks)) <= max_length
    assert packer.counts["lines_cut"] == sum(len(row) > max_length - 2 for row in rows)
    assert packer.counts["tail"] == len(blocks[-1])


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, max_length=st.integers(3, 14))
def test_line_blocks_hold_every_piece_once(rows, max_length):
    blocks = pack_all(LinePacker(max_length, SPECIALS), [lines_of(rows)])
    assert all(block[0] == CLS and block[-1] == SEP and len(block) <= max_length for block in blocks)
    assert [subword for block in blocks for subword in block[1:-1]] == [subword for row in rows for subword in row]
    assert len(blocks) == sum(-(-len(row) // (max_length - 2)) for row in rows)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), rows=ROWS, max_length=st.integers(2, 14), surrounded=st.booleans())
def test_stream_blocks_are_the_stream_cut_in_equal_parts(data, rows, max_length, surrounded):
    begins = begins_for(rows, data)
    batches = in_batches(rows, begins, data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    packer = StreamPacker(max_length, line_template=SPECIALS if surrounded else None)
    stream = []
    for row in rows:
        stream += [CLS, *row, SEP] if surrounded else row
    blocks = pack_all(packer, batches)
    assert blocks == [stream[start : start + max_length] for start in range(0, len(stream), max_length)]
    assert packer.counts["tail"] == len(stream) % max_length


def test_flags_mark_words_and_documents_where_they_end_up():
    lines = EncodedLines(
        ids=np.array([10, 11, 12, 13, 14], np.uint16),
        lengths=np.array([2, 3], np.int32),
        begins_document=np.array([True, True]),
        word_starts=np.array([True, False, True, True, False]),
    )
    packer = SentencePacker(16, SPECIALS, separator=np.array([JOINT]))
    packer.pack(lines)
    block = packer.finish()
    both = WORD_START | DOCUMENT_START
    assert block.ids.tolist() == [CLS, 10, 11, JOINT, 12, 13, 14, SEP]
    assert block.flags.tolist() == [WORD_START, both, 0, WORD_START, both, WORD_START, 0, WORD_START]

    stream = StreamPacker(16, line_template=SPECIALS)
    stream.pack(lines)
    block = stream.finish()
    assert block.ids.tolist() == [CLS, 10, 11, SEP, CLS, 12, 13, 14, SEP]
    assert (block.flags & DOCUMENT_START > 0).tolist() == [True, False, False, False, True] + [False] * 4


def test_separator_of_nothing_joins_lines_directly():
    packer = SentencePacker(8, NO_SPECIALS, separator=np.array([], dtype=int))
    assert pack_all(packer, [lines_of([[5, 6], [7], [8, 9, 10, 11, 12, 13]])]) == [[5, 6, 7], [8, 9, 10, 11, 12, 13]]


@pytest.mark.parametrize(
    "packer", [LinePacker(8, SPECIALS), StreamPacker(8), SentencePacker(8, SPECIALS, separator=np.array([JOINT]))]
)
def test_no_lines_give_no_blocks(packer):
    assert pack_all(packer, [lines_of([])]) == []


def test_cut_lengths_keeps_rows_that_fit():
    assert cut_lengths(np.array([4, 4, 1]), 4).tolist() == [4, 4, 1]
    assert cut_lengths(np.array([9]), 4).tolist() == [4, 4, 1]


def test_stream_blocks_are_framed_on_request():
    packer = StreamPacker(5, block_template=SPECIALS)
    blocks = pack_all(packer, [lines_of([[10, 11], [12, 13]]), lines_of([[14, 15, 16]])])
    assert blocks == [[CLS, 10, 11, 12, SEP], [CLS, 13, 14, 15, SEP], [CLS, 16, SEP]]
    assert packer.counts["tail"] == 1
