from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import classification_report as seqeval_report
from sklearn.metrics import classification_report, f1_score

from finetune.encoding.tags import TagScheme
from finetune.tagging.metrics import compare_tags
from finetune.tagging.pos_metrics import SUBWORD_METRICS, count_word_confusions, score_subword_tags, score_words

tags = st.sampled_from(["NOUN", "VERB", "PROPN", "X"])
corpora = st.lists(st.lists(st.tuples(tags, tags), max_size=6), min_size=1, max_size=5).filter(any)


def compare(case):
    predicted, expected = ([[pair[side] for pair in row] for row in case] for side in (0, 1))
    return compare_tags(predicted, expected, TagScheme.POS)


@pytest.mark.slow
@given(corpora)
def test_scores_are_those_of_scikit_learn(case):
    scores = score_words(compare(case))
    predicted, expected = ([pair[side] for row in case for pair in row] for side in (0, 1))
    report = classification_report(expected, predicted, output_dict=True, zero_division=0)
    assert scores.accuracy == pytest.approx(np.mean([p == e for p, e in zip(predicted, expected, strict=True)]))
    for row in [*scores.classes, scores.macro, scores.weighted]:
        assert (row.precision, row.recall, row.f1, row.support) == pytest.approx(tuple(report[row.label].values()))
    assert [row.label for row in scores.classes] == sorted({*predicted, *expected})
    assert scores.micro.f1 == pytest.approx(f1_score(expected, predicted, average="micro"))
    assert scores.as_dict()["nb_samples"] == len(case)
    assert sum(count_word_confusions(compare(case)).values()) == len(expected)


def test_no_letter_of_a_tag_is_eaten():
    tagging = compare_tags([["NOUN", "VERB"]], [["NOUN", "NOUN"]], TagScheme.POS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        eaten = seqeval_report([["NOUN", "NOUN"]], [["NOUN", "VERB"]], output_dict=True, zero_division=0)
    assert "OUN" in eaten  # the bug that keeps seqeval out of here
    scores = score_words(tagging)
    assert [row.label for row in scores.classes] == ["NOUN", "VERB"]
    assert scores.accuracy == 0.5
    assert count_word_confusions(tagging) == {("NOUN", "NOUN"): 1, ("NOUN", "VERB"): 1}


def test_pieces_without_a_label_do_not_count():
    scores = score_subword_tags([[1, 0, 1], [2, 2, 0]], [[1, 1, -100], [-100, 2, -100]], ["A", "B", "C"])
    assert tuple(scores) == SUBWORD_METRICS
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["f1_macro"] == pytest.approx(f1_score([1, 1, 2], [1, 0, 2], average="macro"))


def test_nothing_to_score():
    scores = score_words(compare_tags([[]], [[]], TagScheme.POS))
    assert scores.classes == [] and scores.as_dict()["f1_macro"] == 0.0
