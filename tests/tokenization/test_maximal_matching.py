"""The fast `newmm` cuts exactly as PyThaiNLP's own."""

from __future__ import annotations

import pytest
import pythainlp
from hypothesis import given, settings
from hypothesis import strategies as st
from pythainlp.tokenize import syllable_tokenize, word_tokenize

from finetune.tokenization import maximal_matching
from finetune.tokenization.maximal_matching import (
    PROBES,
    VERIFIED_VERSIONS,
    build_cutter,
    build_word_cutter,
    find_shortest_path,
)
from finetune.tokenization.segmentation import cut_syllables, cut_words

LETTERS = "กขคงจดตนบปมยรลวสหอะาำิีึืุูเแโใไๆฯ่้๊๋์็ฤ๑๒"
OTHERS = " abcZ019.,:-()<_>\t\n\r\u200b\ufeff🙂"


def test_on_real_text(thai_lines):
    for line in thai_lines[::12]:
        assert cut_words(line) == word_tokenize(line), line


def test_syllables_on_real_text(some_lines):
    for line in some_lines[::3]:
        assert cut_syllables(line) == syllable_tokenize(line, engine="dict"), line


@settings(max_examples=500, deadline=None)
@given(st.text(LETTERS + OTHERS, max_size=80))
def test_on_any_text(text):
    assert cut_words(text) == word_tokenize(text)
    assert cut_syllables(text) == syllable_tokenize(text, engine="dict")


WORDS = ["ตา", "ตาก", "กลม", "ลม", "มา", "มาก", "การ", "ราช", "ราชการ", "ชา", "นา", "ยาน", "นาน", "ปลา", "ปลาตาก", "ๆ"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, "ก", "ซ", "า", " ", "1,2"]), max_size=60).map("".join))
def test_on_ambiguous_text(text):
    assert cut_words(text) == word_tokenize(text)


def test_very_ambiguous_text_is_cut_in_time():
    text = "ตากลมตากลมมากา" * 400
    assert cut_words(text) == word_tokenize(text)


def test_the_shortest_path_found_first_is_taken():
    assert find_shortest_path({0: [1, 2], 1: [3], 2: [3]}, 0, 3) == [0, 1, 3]
    assert find_shortest_path({0: [1, 2], 1: [2], 2: [3]}, 0, 3) == [0, 2, 3]


def test_this_version_was_verified():
    assert pythainlp.__version__ in VERIFIED_VERSIONS or build_word_cutter() is word_tokenize


def test_another_version_is_compared_first(monkeypatch):
    monkeypatch.setattr(maximal_matching, "VERIFIED_VERSIONS", ())
    words = pythainlp.corpus.thai_words()
    assert build_cutter(words, word_tokenize) is not word_tokenize
    assert [build_cutter(words, word_tokenize)(probe) for probe in PROBES] == [word_tokenize(probe) for probe in PROBES]

    def other(text: str) -> list[str]:
        return list(text)

    assert build_cutter(words, other) is other


@pytest.mark.parametrize("text", ["", " ", "\n", "a", "ก", "็", "🙂"])
def test_tiny_texts(text):
    assert cut_words(text) == word_tokenize(text)
