from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, classification_report, f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2

from finetune.encoding.tags import LETTERS, OUTSIDE, TagScheme, legal_begins, read_spans
from finetune.tagging.metrics import compare_tags, find_spans, name_tags, score_spans, score_subwords

SPANNING = [scheme for scheme in TagScheme if scheme is not TagScheme.POS]


@st.composite
def corpora(draw, letters="BIO", types=("X", "Y", "creative-work")):
    tag = st.sampled_from(["O", *(f"{letter}-{kind}" for letter in letters if letter != "O" for kind in types)])
    lengths = draw(st.lists(st.integers(0, 8), min_size=1, max_size=5))
    return tuple([[draw(tag) for _ in range(length)] for length in lengths] for _ in range(2))


def oracle(predicted, expected, strict):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"mode": "strict", "scheme": IOB2} if strict else {}
        return classification_report(expected, predicted, output_dict=True, zero_division=0, **options)


@pytest.mark.parametrize("strict", [False, True])
@given(case=corpora())
def test_scores_are_those_of_seqeval(strict, case):
    predicted, expected = case
    scores = score_spans(compare_tags(predicted, expected), strict=strict)
    rows = [*scores.classes, scores.micro, scores.macro, scores.weighted]
    if not scores.classes:  # seqeval cannot report on nothing
        assert [row.f1 for row in rows] == [0, 0, 0]
        return
    report = oracle(predicted, expected, strict)
    assert [row.label for row in rows] == list(report)
    for row in rows:
        found = (row.precision, row.recall, row.f1, row.support)
        assert found == pytest.approx(tuple(report[row.label].values()), abs=1e-12)


@given(case=corpora())
def test_accuracy_is_that_of_seqeval(case):
    predicted, expected = case
    assume(any(expected))
    scores = score_spans(compare_tags(predicted, expected))
    assert scores.accuracy == pytest.approx(accuracy_score(expected, predicted))
    assert scores.nb_samples == len(expected)


def convert_to_iob2(tags, scheme):
    """IOB2 tags with the same spans (read leniently), so that one scorer serves all schemes.

    A span whose begin is not well formed in `scheme` keeps its `I-`, so that strict scoring goes on refusing it; only
    where it touches another span of its type must it become a `B-`.
    """
    legal = legal_begins(scheme)
    converted = [OUTSIDE] * len(tags)
    before = ("", -1, -1)
    for span in read_spans(tags):
        kind, start, end = span
        touches = before[0] == kind and before[2] == start
        begin = "B" if touches or tags[start][0] in legal else "I"
        converted[start:end] = [f"{begin}-{kind}", *[f"I-{kind}"] * (end - start - 1)]
        before = span
    return converted


@pytest.mark.parametrize("scheme", SPANNING)
@given(data=st.data())
def test_other_schemes_score_as_their_conversion_to_iob2(scheme, data):
    predicted, expected = data.draw(corpora(LETTERS[scheme]))
    converted = [[convert_to_iob2(tags, scheme) for tags in side] for side in (predicted, expected)]
    for strict in (False, True):
        ours = score_spans(compare_tags(predicted, expected, scheme), strict=strict)
        iob2 = score_spans(compare_tags(*converted), strict=strict)
        assert (ours.classes, ours.micro, ours.macro) == (iob2.classes, iob2.micro, iob2.macro)


@given(case=corpora("BIES"))
def test_spans_have_the_borders_that_seqeval_finds(case):
    tagging = compare_tags(*case, TagScheme.BIOES)
    spans = find_spans(tagging.expected, tagging.offsets, tagging.label_list, tagging.scheme)
    expected = [
        (kind, offset + first, offset + last)
        for offset, tags in zip(tagging.offsets.tolist(), case[1], strict=False)
        for kind, first, last in (get_entities(tags) if tags else [])
    ]
    types = sorted({kind for tags in (*case[0], *case[1]) for tag in tags if (kind := tag[2:])})
    assert [(types[k], f, e) for k, f, e in zip(spans.kind, spans.first, spans.last, strict=True)] == expected


def test_the_keys_of_the_report():
    predicted = [["B-PER", "I-PER", "O"], ["I-LOC"]]
    expected = [["B-PER", "I-PER", "O"], ["B-LOC"]]
    lenient, strict = (score_spans(compare_tags(predicted, expected), strict=strict) for strict in (False, True))
    assert (lenient.mode, strict.mode) == ("lenient", "strict")
    assert lenient.as_dict() == {
        "accuracy": 0.75,
        "f1_macro": 1.0,
        "f1_micro": 1.0,
        "nb_samples": 2,
        "precision_macro": 1.0,
        "precision_micro": 1.0,
        "recall_macro": 1.0,
        "recall_micro": 1.0,
    }
    assert strict.as_dict()["recall_micro"] == 0.5
    assert strict.as_dict()["precision_micro"] == 1.0


@given(case=corpora())
def test_pieces_are_scored_where_they_are_labelled(case):
    predicted, expected = case
    assume(any(expected))
    labels = sorted({tag for side in case for tags in side for tag in tags})
    width = max(map(len, expected)) * 2 + 1
    arrays = np.full((2, len(expected), width), -100)
    for side, sequences in enumerate(case):
        for row, tags in enumerate(sequences):
            arrays[side, row, 1 : 1 + 2 * len(tags) : 2] = [labels.index(tag) for tag in tags]
    arrays[0][arrays[1] == -100] = 0  # what is predicted at unlabelled places does not count
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = {"precision": precision_score, "recall": recall_score, "f1": f1_score, "accuracy": accuracy_score}
        wanted = {name: metric(expected, predicted) for name, metric in metrics.items()}
    assert score_subwords(arrays[0], arrays[1], labels) == pytest.approx(wanted)


def test_sequences_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="differ in the number"):
        compare_tags([["O"]], [["O", "O"]])
    with pytest.raises(ValueError, match="differ in the number"):
        compare_tags([["O"]], [["O"], []])


def test_names_come_back():
    tagging = compare_tags([["O", "B-X"], [], ["I-X"]], [["O", "O"], [], ["O"]])
    assert name_tags(tagging.predicted, tagging.offsets, tagging.label_list) == [["O", "B-X"], [], ["I-X"]]
