from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.tagging.metrics import compare_tags, score_spans
from finetune.tagging.span_errors import ERROR_CLASSES, count_span_errors, count_type_confusions, match_spans


@pytest.mark.parametrize(("expected", "predicted", "error"), [
    ("B-X I-X O", "B-X I-X O", "exact"),
    ("B-X I-X O", "B-Y I-Y O", "type"),
    ("O B-X I-X", "B-X I-X I-X", "left_border"),
    ("B-X I-X O", "B-X I-X I-X", "right_border"),
    ("O B-X O", "B-X I-X I-X", "both_borders"),
    ("O B-X O", "B-Y I-Y O", "type_and_border"),
    ("B-X O O", "O O O", "missed"),
    ("B-X O O", "O O B-X", "missed spurious"),
    ("O O", "B-X O", "spurious"),
    ("B-X I-X I-X I-X", "B-X B-X I-X I-X", "left_border spurious"),
    ("B-X I-X I-X", "B-Y I-Y B-X", "left_border spurious"),
    ("B-X B-X", "B-X I-X", "right_border missed"),
])  # fmt: skip
def test_every_kind_of_error(expected, predicted, error):
    counts = count_span_errors(match_spans(compare_tags([predicted.split()], [expected.split()])))
    assert tuple(counts) == ERROR_CLASSES
    assert sorted(name for name, count in counts.items() for _ in range(count)) == sorted(error.split())


tags = st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"])
pairs = st.lists(st.lists(st.tuples(tags, tags), max_size=10), min_size=1, max_size=4)


@given(pairs)
def test_errors_add_up_to_the_spans_of_both_sides(case):
    tagging = compare_tags([[p for p, _ in row] for row in case], [[e for _, e in row] for row in case])
    matches = match_spans(tagging)
    counts = count_span_errors(matches)
    assert sum(counts.values()) - counts["spurious"] == len(matches.expected)
    assert sum(counts.values()) - counts["missed"] == len(matches.predicted)
    assert len(matches.expected) == score_spans(tagging).micro.support
    assert counts["exact"] == round(score_spans(tagging).micro.precision * len(matches.predicted))
    confusions = count_type_confusions(matches)
    assert sum(confusions.values()) == sum(counts.values())
    assert sum(count for (kind, _), count in confusions.items() if kind == "O") == counts["spurious"]
    wrong_type = sum(count for (e, p), count in confusions.items() if e != p and "O" not in (e, p))
    assert wrong_type == counts["type"] + counts["type_and_border"]
    swapped = match_spans(compare_tags([[e for _, e in row] for row in case], [[p for p, _ in row] for row in case]))
    assert count_span_errors(swapped)["missed"] == counts["spurious"]


def test_type_confusions_count_right_ones_missed_and_spurious():
    tagging = compare_tags(
        [["B-PER", "O", "B-LOC", "O"], ["B-ORG", "I-ORG"], ["O"]],
        [["B-PER", "O", "B-ORG", "B-LOC"], ["B-ORG", "O"], ["O"]],
    )
    assert count_type_confusions(match_spans(tagging)) == {
        ("LOC", "O"): 1,
        ("ORG", "LOC"): 1,
        ("ORG", "ORG"): 1,
        ("PER", "PER"): 1,
    }
