"""Vocabulary files and segment caches: read strictly, written so that they read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import DataError
from finetune.tokenization.vocabulary import (
    WORD_LEVEL_TOKENS,
    read_segment_cache,
    read_vocabulary,
    write_segment_cache,
    write_vocabulary,
)

CONTROL = dict.fromkeys(WORD_LEVEL_TOKENS)


def numbered(*words: str) -> dict[str, int]:
    return {word: index for index, word in enumerate([*CONTROL, *words])}


@given(st.sets(st.text(min_size=1).filter(lambda word: word not in CONTROL and word.isprintable())))
def test_words_read_back(tmp_path_factory, words):
    path = tmp_path_factory.mktemp("vocabulary") / "newmm.json"
    vocabulary = numbered(*words)
    write_vocabulary(path, dict(reversed(vocabulary.items())))
    assert list(read_vocabulary(path).items()) == list(vocabulary.items())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{not json", r"newmm.json:1: not valid JSON"),
        ("[1, 2]", "not a word vocabulary"),
        ('{"a": "b"}', "not a word vocabulary"),
        ('{"a": true}', "not a word vocabulary"),
        (json.dumps(numbered("ก") | {"ข": 99}), "are not 0 to 8"),
        (json.dumps(numbered() | {"ก": 3}), "are not 0 to 7"),
        ('{"!": 0, "Ġthe": 1, "<unk>": 2}', r"no <s>, <pad>, </s>, <mask>: it belongs to another tokenizer"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content, sentence):
    path = tmp_path / "newmm.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=sentence):
        read_vocabulary(path)


def test_bytes_that_are_not_utf8_have_a_place(tmp_path: Path):
    path = tmp_path / "newmm.json"
    path.write_bytes('{"<s>": 0,\n"ก": 1}'.encode("cp874"))
    with pytest.raises(DataError, match=r"newmm.json:2: byte 0xA1"):
        read_vocabulary(path)


def test_segments_are_known_by_stretch_between_spaces(tmp_path: Path):
    path = tmp_path / "cache.json"
    write_segment_cache(path, {"ต่าง<_>ๆกัน": ["ต่าง", "<_>", "ๆ", "กัน"], "ab": ["a", "b"], "c<_>": ["c<_>"]})
    assert read_segment_cache(path) == {"ab": ["a", "b"], "c": ["c"], "": [], "ต่าง": ["ต่าง"], "ๆกัน": ["ๆ", "กัน"]}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"ab": "a"}', "not a cache of segments"),
        ('{"ab": ["a", 1]}', "not a cache of segments"),
        ('{"ab": ["a", "c"], "x": ["y"]}', "segments of 'ab' do not add up"),
    ],
)
def test_caches_that_do_not_fit_are_refused(tmp_path: Path, content, sentence):
    path = tmp_path / "cache.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=sentence):
        read_segment_cache(path)
