"""Segmenters cut and never change the text."""

from __future__ import annotations

import pickle

from hypothesis import given, settings
from hypothesis import strategies as st
from pythainlp.tokenize import syllable_tokenize, word_tokenize

from finetune.tokenization import segmentation
from finetune.tokenization.segmentation import Segmenter, cut_at_marks

LETTERS = "กขคงจนมยรลวสหอะาำิีึืุูเแโใไๆฯ่้๊๋์็ฤ๑๒" + " abcZ019.,-()<_>\t\u200b\ufeff🙂"


def join_spans(segmenter: Segmenter, text: str) -> str:
    return "".join(text[span] for span in segmenter.spans(text))


@settings(max_examples=300, deadline=None)
@given(st.text(LETTERS, max_size=60))
def test_segments_add_up_to_any_text(text):
    for kind in ("newmm", "syllable"):
        segmenter = Segmenter(kind)
        assert join_spans(segmenter, text) == text
        assert [text[span] for span in segmenter.spans(text)] == segmenter.cut(text)


def test_segments_add_up_to_real_text(some_lines):
    for kind in ("newmm", "syllable"):
        segmenter = Segmenter(kind)
        assert all(join_spans(segmenter, line) == line for line in some_lines[:300])


def test_the_cuts_are_those_of_pythainlp():
    text = "ประเทศไทยมีอากาศร้อน"
    assert Segmenter("newmm").cut(text) == word_tokenize(text)
    assert Segmenter("syllable").cut(text) == syllable_tokenize(text, engine="dict")


@given(st.lists(st.text("กขabc <_>", min_size=1), max_size=8))
def test_marks_are_borders_and_no_words(words):
    text = "<|>".join(words)
    segmenter = Segmenter("fake_sefr_cut")
    assert cut_at_marks(text) == [text[span] for span in segmenter.spans(text)] == words


def test_each_text_is_cut_once(monkeypatch):
    calls = []
    monkeypatch.setattr(segmentation, "CUTS", {"newmm": lambda text: calls.append(text) or list(text)})
    segmenter = Segmenter("newmm")
    for _ in range(3):
        segmenter.spans("ab")
    assert calls == ["ab"]


def test_the_memory_has_a_limit(monkeypatch):
    monkeypatch.setattr(segmentation, "CACHE_AT_MOST", 10)
    segmenter = Segmenter("fake_sefr_cut")
    for number in range(35):
        assert join_spans(segmenter, str(number)) == str(number)
        assert len(segmenter._memory) <= 10


def test_travels_without_its_memory():
    segmenter = Segmenter("newmm", {"ab": ["a", "b"]})
    fresh = len(pickle.dumps(segmenter))
    segmenter.spans("กิน" * 500)
    assert len(pickle.dumps(segmenter)) == fresh
    assert pickle.loads(pickle.dumps(segmenter)).cut("ab") == ["a", "b"]


def test_text_without_marks_is_one_word_and_said_once(caplog):
    segmenter = Segmenter("fake_sefr_cut")
    long = "ข้อความยาวที่ยังไม่ได้ตัดคำไว้ก่อน"
    assert segmenter.cut(long) == [long]
    segmenter.cut(long + "อีก")
    warnings = [record for record in caplog.records if "<|>" in record.message]
    assert len(warnings) == 1
