from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, Entities

from finetune.encoding.tag_column import TagColumn
from finetune.encoding.tags import (
    LETTERS,
    StrangeTagsError,
    TagScheme,
    Transitions,
    canonical_spellings,
    count_ill_formed,
    detect_scheme,
    read_spans,
    repair_tags,
    split_tag,
    write_spans,
)
from finetune.errors import DataError

SPANNING = [scheme for scheme in TagScheme if scheme is not TagScheme.POS]
INTO_SEQEVAL = str.maketrans({"L": "E", "U": "S"})


def tags_of(letters):
    return st.lists(
        st.sampled_from(["O", *(f"{letter}-{kind}" for letter in letters if letter != "O" for kind in ("X", "Y"))]),
        max_size=12,
    )


any_tags = tags_of("BIESLU")
span_lists = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from("XY")), max_size=5)


def lay_out(subwords):
    spans, position = [], 0
    for gap, length, kind in subwords:
        spans.append((kind, position + gap, position + gap + length))
        position += gap + length
    return spans, position + 1


def seqeval_spans(tags):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        letters = [tag if tag == "O" else tag[0].translate(INTO_SEQEVAL) + tag[1:] for tag in tags]
        return [(kind, start, end + 1) for kind, start, end in get_entities(letters)]


@given(any_tags)
def test_spans_are_those_of_seqeval_in_any_scheme(tags):
    assert read_spans(tags) == seqeval_spans(tags)


@pytest.mark.parametrize("scheme", SPANNING)
@given(subwords=span_lists)
def test_written_spans_are_read_again_and_well_formed(scheme, subwords):
    spans, length = lay_out(subwords)
    tags = write_spans(spans, length, scheme)
    assert len(tags) == length
    assert count_ill_formed(TagColumn.of_sequences([tags]), scheme) == 0
    touching = any(a[0] == b[0] and a[2] == b[1] for a, b in pairwise(spans))
    if scheme is not TagScheme.IO or not touching:
        assert read_spans(tags) == spans


@pytest.mark.parametrize(("scheme", "oracle"), [
    (TagScheme.IOB1, IOB1), (TagScheme.IOB2, IOB2), (TagScheme.BIOES, IOBES), (TagScheme.BILOU, BILOU),
])  # fmt: skip
@given(subwords=span_lists)
def test_written_spans_are_what_the_scheme_of_seqeval_reads(scheme, oracle, subwords):
    spans, length = lay_out(subwords)
    entities = Entities([write_spans(spans, length, scheme)], oracle).entities[0]
    assert [(entity.tag, entity.start, entity.end) for entity in entities] == spans


@pytest.mark.parametrize("scheme", SPANNING)
@given(data=st.data())
def test_repair_keeps_spans_and_leaves_well_formed_sequences_alone(scheme, data):
    tags = data.draw(tags_of(LETTERS[scheme]))
    repaired = repair_tags(tags, scheme)
    assert count_ill_formed(TagColumn.of_sequences([repaired]), scheme) == 0
    assert read_spans(repaired) == read_spans(tags)
    if count_ill_formed(TagColumn.of_sequences([tags]), scheme) == 0:
        assert repaired == tags


@pytest.mark.parametrize(("sequences", "scheme"), [
    ([["I-X", "I-X", "O", "I-Y"], ["I-X", "B-X"]], TagScheme.IOB1),
    ([["B-X", "I-X", "O", "B-Y"]], TagScheme.IOB2),
    ([["B-X", "I-X", "O", "I-Y"], ["B-X"]], TagScheme.IOB2),
    ([["B-X", "O"]], TagScheme.IOB2),
    ([["O", "O"]], TagScheme.IOB2),
    ([["B-X", "E-X", "B-Y", "O"]], TagScheme.BIOE),
    ([["B-X", "I-X", "E-X", "S-Y", "O"]], TagScheme.BIOES),
    ([["S-X", "O"]], TagScheme.BIOES),
    ([["B-X", "L-X", "O", "U-Y"]], TagScheme.BILOU),
    ([["I-X", "I-Y", "O"]], TagScheme.IO),
    ([["NOUN", "VERB"], ["X", "I"]], TagScheme.POS),
])  # fmt: skip
def test_schemes_are_told_apart(sequences, scheme):
    assert detect_scheme(TagColumn.of_sequences(sequences)) is scheme


def test_real_corpora_are_iob2_and_well_formed(shared_data):
    lines = (shared_data / "wnut17" / "emerging.dev.conll").read_text(encoding="utf-8").split("\n")
    sentences = [[]]
    for line in lines:
        sentences[-1:] = [sentences[-1], []] if not line.strip() else [[*sentences[-1], line.split("\t")[1]]]
    assert detect_scheme(TagColumn.of_sequences(sentences)) is TagScheme.IOB2
    assert count_ill_formed(TagColumn.of_sequences(sentences), TagScheme.IOB2) == 0


@pytest.mark.parametrize(("tags", "spelt"), [
    (["O", "B_PER", "I_PER", "E_PER"], ["O", "B-PER", "I-PER", "E-PER"]),
    (["PER-B", "PER-I", "O"], ["B-PER", "I-PER", "O"]),
    (["B", "I", "O"], ["B-_", "I-_", "O"]),
    (["B-creative-work", "I-creative-work"], ["B-creative-work", "I-creative-work"]),
    (["B:LOC", "O"], ["B-LOC", "O"]),
    (["NOUN", "PROPN", "X"], ["NOUN", "PROPN", "X"]),
    (["o", "b-per", "i-per"], ["O", "B-per", "I-per"]),
    (["o", "per-b", "per-i"], ["O", "B-per", "I-per"]),
    (["O", "o", "B-PER"], ["O", "O", "B-PER"]),
    (["n", "v", "o"], ["n", "v", "o"]),
    (["B", "I"], ["B", "I"]),
    (["O"], ["O"]),
    ([], []),
])  # fmt: skip
def test_spellings(tags, spelt):
    assert list(canonical_spellings(tags).values()) == spelt


def test_a_stray_tag_among_spans_is_named():
    with pytest.raises(DataError, match=r"the tag 'PER' has no letter .* \(as 'B-LOC'\)"):
        canonical_spellings(["O", "B-LOC", "I-LOC", "PER"])


def test_lower_case_letters_beside_a_capital_o():
    assert canonical_spellings(["O", "b-per", "i-per"]) == {"O": "O", "b-per": "B-per", "i-per": "I-per"}
    assert canonical_spellings(["O", "B-x-b", "I-x-b"]) == {"O": "O", "B-x-b": "B-x-b", "I-x-b": "I-x-b"}


def test_spans_among_many_stray_tags_are_no_parts_of_speech():
    with pytest.raises(StrangeTagsError) as caught:
        canonical_spellings(["O", "B-PER", *map(str, range(9))])
    assert set(caught.value.by_tag) == set(map(str, range(9)))
    parts = ["S-PRO", "A-PRO", "V", "CONJ", "PR"]  # the parts of speech of the Russian National Corpus
    assert canonical_spellings(parts) == {tag: tag for tag in parts}


@pytest.mark.parametrize("tag", ["_", "0", "None", "-", "other"])
def test_what_may_mean_no_entity_is_asked_for(tag):
    with pytest.raises(DataError, match=r"words outside of every span have the tag 'O'; write O if it means that"):
        canonical_spellings([tag, "B-LOC", "I-LOC", "B-PER"])


def test_ill_formed_places_are_counted_one_by_one():
    assert (
        count_ill_formed(TagColumn.of_sequences([["I-X", "O", "I-X"], [], ["B-X", "I-Y"], ["O"]]), TagScheme.IOB2) == 3
    )
    assert count_ill_formed(TagColumn.of_sequences([["B-X", "O"], ["S-X", "E-X"], ["B-X"]]), TagScheme.BIOES) == 3
    assert count_ill_formed(TagColumn.of_sequences([["B-X", "O"], ["B-X"], ["B-X", "I-X"]]), TagScheme.BIOE) == 1
    assert count_ill_formed(TagColumn.of_sequences([["B-X"], ["O", "B-X"], ["I-X", "B-X"]]), TagScheme.IOB1) == 2
    assert count_ill_formed(TagColumn.of_sequences([["anything", "I-X"]]), TagScheme.POS) == 0
    assert count_ill_formed(TagColumn.of_sequences([]), TagScheme.IOB2) == 0


@given(tags_of("BI"))
def test_iob2_is_well_formed_where_strict_and_lenient_seqeval_agree(tags):
    strict = Entities([tags], IOB2).entities[0]
    agree = [(entity.tag, entity.start, entity.end) for entity in strict] == read_spans(tags)
    assert agree == (count_ill_formed(TagColumn.of_sequences([tags]), TagScheme.IOB2) == 0)


def test_transitions_are_a_table_of_the_label_list():
    transitions = Transitions(["O", "B-X", "I-X"], TagScheme.IOB2)
    assert transitions.start.tolist() == [True, True, False]
    assert transitions.pairs.tolist() == [[True, True, False], [True, True, True], [True, True, True]]
    assert transitions.end.all()
    assert Transitions(["NOUN", "B-X"], TagScheme.POS).pairs.all()
    assert not Transitions(["O", "B-X", "E-X"], TagScheme.BIOES).end[1]


def test_split_tag():
    assert split_tag("B-creative-work") == ("B", "creative-work")
    assert np.all([split_tag("O") == ("O", "")])
