from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from finetune.data.documents import Boundary
from finetune.data.text import TextChunk, read_chunks
from finetune.encoding.lines import LineEncoder, LineRules, encode_lines
from finetune.encoding.subwords import SubwordEncoder
from finetune.errors import DataError


@pytest.fixture(scope="module")
def subwords(minilm_folder):
    return SubwordEncoder(AutoTokenizer.from_pretrained(minilm_folder))


def borders(encoder, texts, tmp_path, chunk_bytes, workers=1):
    paths = []
    for number, text in enumerate(texts):
        paths.append(tmp_path / f"{number}.txt")
        paths[-1].write_text(text)
    chunks = read_chunks(paths, chunk_bytes=chunk_bytes)
    return [
        bool(b) for lines in encode_lines(chunks, encoder, paths=paths, workers=workers) for b in lines.begins_document
    ]


LINES = st.lists(st.sampled_from(["word", "two words", "", " ", "\u200b"]), max_size=14)


@settings(max_examples=150, deadline=None)
@given(
    files=st.lists(LINES, min_size=1, max_size=3), chunk_bytes=st.integers(1, 60), kind=st.sampled_from(list(Boundary))
)
def test_document_borders_do_not_depend_on_chunks(subwords, tmp_path_factory, files, chunk_bytes, kind):
    """Against a plain reading of the rule; "\\u200b" is a line without subwords, its border moves on."""
    expected = []
    for lines in files:
        border = True
        for line in lines:
            border |= kind == Boundary.LINE and bool(line.strip())
            if line == "\u200b" or not line.strip():
                border |= kind == Boundary.BLANK_LINE and not line.strip()
                continue
            expected.append(border)
            border = False
    texts = ["".join(line + "\n" for line in lines) for lines in files]
    encoder = LineEncoder(subwords, LineRules(boundary=kind))
    assert borders(encoder, texts, tmp_path_factory.mktemp("files"), chunk_bytes) == expected


def test_lines_are_stripped_and_counted(subwords):
    encoded = LineEncoder(subwords)(TextChunk(b"  one two \n\n\xe2\x80\x8b\nthree\n", starts_file=True))
    assert encoded.lengths.tolist() == [2, 1]
    assert (encoded.lines_read, encoded.without_subwords, encoded.bytes_read) == (3, 1, 22)


def test_lines_are_cleaned_as_asked():
    assert LineRules(space_token="<_>", lowercase=True).clean_line(" A b ") == "a<_>b"


def test_any_number_of_workers_gives_the_same(subwords, tmp_path):
    texts = ["one two three\n\nfour five\n" * 40, "six\n" * 30]
    one, two = (borders(LineEncoder(subwords), texts, tmp_path, 64, workers) for workers in (1, 2))
    assert one == two and sum(one) == 42


def test_text_that_is_not_utf8_is_told_with_its_place_even_from_a_worker(subwords, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"fine\n" * 30 + b"broken \xff\n")
    for workers in (1, 2):
        with pytest.raises(DataError, match=r"a\.txt:31: byte 0xFF"):
            list(
                encode_lines(read_chunks([path], chunk_bytes=40), LineEncoder(subwords), paths=[path], workers=workers)
            )


def test_rest_of_a_cut_line_begins_no_document(subwords):
    encoder = LineEncoder(subwords, LineRules(boundary=Boundary.LINE))
    encoded = encoder(TextChunk(b"rest of it\nnext\n", continues=True))
    assert encoded.begins_document.tolist() == [False, True]
    assert np.array_equal(encoder.subwords.encode(["next"]).ids, encoded.ids[-1:])
