"""BMES, BMEWO and IOE: the spans of the file, in letters that the rest of the project knows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.encoding.tag_column import TagColumn
from finetune.encoding.tags import (
    TagScheme,
    canonical_spellings,
    count_ill_formed,
    detect_scheme,
    is_end_marked,
    read_end_marked,
    read_spans,
    write_spans,
)

SPANS = st.lists(st.tuples(st.sampled_from(["PER", "LOC"]), st.integers(1, 3), st.integers(0, 2)), max_size=5)


def lay_out(drawn: list[tuple[str, int, int]]) -> tuple[list[tuple[str, int, int]], int]:
    """Spans one after another (type, words, words outside before), and the length of their sentence."""
    spans, place = [], 0
    for kind, length, gap in drawn:
        spans.append((kind, place + gap, place + gap + length))
        place += gap + length
    return spans, place + 1


@pytest.mark.parametrize("single", ["S", "W"])
@pytest.mark.parametrize("form", ["{letter}-{kind}", "{letter}_{kind}", "{kind}-{letter}"])
@given(drawn=SPANS)
def test_bmes_has_the_spans_of_bioes(single: str, form: str, drawn: list) -> None:
    spans, length = lay_out([*drawn, ("PER", 3, 1), ("LOC", 1, 1)])
    bioes = write_spans(spans, length, TagScheme.BIOES)
    letters = {"I": "M", "S": single}
    tags = [t if t == "O" else form.format(letter=letters.get(t[0], t[0]), kind=t[2:]) for t in bioes]
    spellings = canonical_spellings(tags)
    read = [spellings[tag] for tag in tags]
    assert read == bioes
    column = TagColumn.of_sequences([read])
    assert detect_scheme(column) is TagScheme.BIOES and count_ill_formed(column, TagScheme.BIOES) == 0


@given(SPANS)
def test_ioe2_has_its_spans(drawn: list) -> None:
    spans, length = lay_out([*drawn, ("PER", 2, 1)])
    tags = ["O"] * length
    for kind, start, end in spans:
        tags[start:end] = [f"I-{kind}"] * (end - start - 1) + [f"E-{kind}"]
    assert is_end_marked(tags)
    assert read_spans(read_end_marked(tags)) == spans


@given(SPANS)
def test_ioe1_has_its_spans(drawn: list) -> None:
    """Only a span that another of its type follows ends in `E-`."""
    spans, length = lay_out([*drawn, ("PER", 2, 1)])
    tags = ["O"] * length
    for number, (kind, start, end) in enumerate(spans):
        touches = spans[number + 1 : number + 2] and spans[number + 1][:2] == (kind, end)
        tags[start:end] = [f"I-{kind}"] * (end - start - 1) + [f"{'E' if touches else 'I'}-{kind}"]
    assert read_spans(read_end_marked(tags)) == spans


@pytest.mark.parametrize("tags", [["B-PER", "E-PER"], ["I-PER", "O"], ["NN", "VB"], ["S", "E"], ["O"]])
def test_other_tags_mark_no_ends(tags: list[str]) -> None:
    assert not is_end_marked(tags)
