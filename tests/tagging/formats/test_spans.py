from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data.words import holds_thai, split_words
from finetune.errors import DataError
from finetune.tagging.formats.choice import read_sentences
from finetune.tagging.formats.sentences import TagColumns
from finetune.tagging.formats.spans import Span, cut_at_borders, span_complaints, tag_text, trim_span

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="".join(map(chr, range(0xE01, 0xE4F)))))


@st.composite
def annotated_texts(draw: st.DrawFn) -> tuple[str, list[Span]]:
    """Texts with spans that do not overlap and cover something visible; they may touch and may cut words."""
    text = draw(st.text(st.sampled_from("ab.-  \n'éก็ดี😀"), min_size=1, max_size=30))
    borders = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    spans = [
        Span(start, end, draw(st.sampled_from(["PER", "LOC"])))
        for start, end in zip(borders[::2], borders[1::2], strict=False)
    ]
    return text, [span for span in spans if text[span.start : span.end].strip()]


def spans_of_tags(places: list[tuple[int, int]], tags: list[str]) -> list[Span]:
    """An independent reading of IOB2."""
    spans: list[Span] = []
    for (start, end), tag in zip(places, tags, strict=True):
        if tag.startswith("B-"):
            spans.append(Span(start, end, tag[2:]))
        elif tag.startswith("I-"):
            spans[-1] = Span(spans[-1].start, end, tag[2:])
    return spans


@settings(deadline=None)
@given(annotated_texts())
def test_tags_describe_exactly_the_spans(case: tuple[str, list[Span]]) -> None:
    text, spans = case
    assert span_complaints(spans, text) == []
    trimmed = [trim_span(span, text) for span in spans]
    tagged = tag_text(text, trimmed)
    found = [trim_span(span, text) for span in spans_of_tags(tagged.places, tagged.tags)]
    assert found == trimmed
    assert all(first_end <= start for (_, first_end), (start, _) in zip(tagged.places, tagged.places[1:], strict=False))


@settings(deadline=None)
@given(TEXTS)
def test_words_cover_all_that_is_not_white_space(text: str) -> None:
    places = split_words(text)
    covered = "".join(text[start:end] for start, end in places)
    assert covered == "".join(text.split()) or {*text} & {*"\x1c\x1d\x1e\x1f"}  # str.split takes these for spaces
    assert all(0 <= start < end <= len(text) for start, end in places)


@settings(deadline=None)
@given(st.text(st.sampled_from("กขคาิี่ๆ a.\n"), max_size=40))
def test_thai_words_and_spaces_make_up_the_text(text: str) -> None:
    places = split_words(text)
    if holds_thai(text):
        assert "".join(text[start:end] for start, end in places) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't visit naïve café, U.K.!", ["Don", "'", "t", "visit", "naïve", "café", ",", "U", ".", "K", ".", "!"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("ทักษิณไปกรุงเทพ นะ", ["ทักษิณ", "ไป", "กรุงเทพ", " ", "นะ"]),
        ("a_b 3.5 $x😀😀", ["a_b", "3", ".", "5", "$", "x", "😀", "😀"]),
        (" \n", []),
        ("", []),
    ],
)
def test_words_of_texts(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in split_words(text)] == words


def test_a_span_that_cuts_a_word_cuts_it() -> None:
    tagged = tag_text("Smithson of IBM", [Span(0, 5, "PER"), Span(12, 15, "ORG")])
    assert tagged.places == [(0, 5), (5, 8), (9, 11), (12, 15)]
    assert tagged.tags == ["B-PER", "O", "O", "B-ORG"]
    assert tagged.words_cut == 1
    assert cut_at_borders([(0, 4), (4, 9)], [0, 4, 5, 6, 9]) == [(0, 4), (4, 5), (5, 6), (6, 9)]


def test_spans_that_touch_stay_two() -> None:
    tagged = tag_text("New York London", [Span(0, 8, "LOC"), Span(9, 15, "LOC")])
    assert tagged.tags == ["B-LOC", "I-LOC", "B-LOC"]


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([Span(0, 99, "A")], "leaves the text, which has 9 characters"),
        ([Span(-1, 2, "A")], "leaves the text"),
        ([Span(3, 3, "A")], "is empty"),
        ([Span(5, 3, "A")], "is empty"),
        ([Span(4, 5, "A")], "is empty"),
        ([Span(0, 4, "A"), Span(2, 9, "B")], "the span 2-9 B crosses the span 0-4 A"),
        ([Span(0, 9, "A"), Span(0, 4, "B")], "the span 0-9 A crosses the span 0-4 B"),
        ([Span(0, 9, "A"), Span(2, 4, "B")], "the span 2-4 B lies inside the span 0-9 A"),
        ([Span(0, 4, "A"), Span(0, 4, "A")], "lies inside"),
    ],
)
def test_spans_that_cannot_be(spans: list[Span], message: str) -> None:
    (complaint,) = span_complaints(spans, "John Kent")
    assert message in complaint


SENTENCES = [
    "Mira saw Graz",
    "We met Anna there",
    "Oslo, Bergen and Siemens",
    "Marie lives in Lund",
    "Ben Ross left Rome",
]
NAME = re.compile(r"\b(?!We\b)[A-Z]\w+")


def write_spans(path: Path, shift: Callable[[int, int], tuple[int, int]], before: str = "") -> Path:
    rows = [
        {"text": before + text + " now.", "label": [[*shift(*match.span()), "X"] for match in NAME.finditer(text)]}
        for text in SENTENCES
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("shift", "before"),
    [(lambda a, b: (a, b - 1), ""), (lambda a, b: (a + 1, b + 1), ""), (lambda a, b: (a + 2, b + 2), "é")],
)  # fmt: skip
def test_offsets_that_are_counted_otherwise_are_refused(tmp_path, shift, before):
    """Ends that count the last character in, a start at 1, bytes: a model of cut words would come out."""
    path = write_spans(tmp_path / "a.jsonl", shift, before)
    with pytest.raises(DataError, match=r"of 1[01] spans begin or end inside a word, as .* \(add 1 to ends"):
        read_sentences(path, TagColumns())
    assert read_sentences(path, TagColumns(segmenter="characters")).words


def test_offsets_in_characters_are_read_as_they_are_spelt(tmp_path):
    plain = read_sentences(write_spans(tmp_path / "a.jsonl", lambda a, b: (a, b)), TagColumns())
    for number, spell in enumerate([str, float]):
        path = write_spans(tmp_path / f"{number}.jsonl", lambda a, b, spell=spell: (spell(a), spell(b)))
        assert read_sentences(path, TagColumns()).tags == plain.tags


def test_names_before_korean_particles_are_no_mistake(tmp_path):
    rows = [{"text": "미라는 서울에 산다", "label": [[0, 2, "PER"], [4, 6, "LOC"]]}] * 8
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert read_sentences(tmp_path / "a.jsonl", TagColumns()).words[0] == ["미라", "는", "서울", "에", "산다"]
