from __future__ import annotations

import json
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.encoding.ragged import offsets_of
from finetune.encoding.tag_column import TagColumn
from finetune.encoding.tags import TagScheme, count_ill_formed
from finetune.tagging.metrics import name_tags
from finetune.tagging.viterbi import TransitionScores, decode_constrained, estimate_transitions, forbid_illegal

LABELS = ["O", "B-X", "I-X", "B-Y", "I-Y"]


def score(path, emissions, transitions):
    total = transitions.start[path[0]] + transitions.end[path[-1]]
    total += sum(emissions[step, label] for step, label in enumerate(path))
    return total + sum(transitions.pairs[a, b] for a, b in pairwise(path))


def random_case(seed, lengths, labels):
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=2.0, size=(sum(lengths), labels))
    transitions = TransitionScores(
        generator.normal(size=labels), generator.normal(size=(labels, labels)), generator.normal(size=labels)
    )
    return logits, offsets_of(lengths), transitions


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 5), min_size=1, max_size=6), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_best_of_all_sequences_is_found(seed, lengths, learned):
    logits, offsets, transitions = random_case(seed, lengths, 4)
    transitions = forbid_illegal(["O", "B-X", "I-X", "I-Y"], TagScheme.IOB2, transitions if learned else None)
    decoded = decode_constrained(logits, offsets, transitions)
    emissions = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for start, end in pairwise(offsets):
        if end > start:
            best = max(product(range(4), repeat=end - start), key=lambda p: score(p, emissions[start:end], transitions))
            assert decoded[start:end].tolist() == list(best)


def test_scores_survive_a_json_file():
    _, _, scores = random_case(5, [1], 4)
    table = json.loads(json.dumps(scores.as_table()))
    again = TransitionScores.from_table(table)
    assert (np.shape(table), again.start.tolist()) == ((5, 5), scores.start.tolist())
    assert np.array_equal(again.pairs, scores.pairs) and np.array_equal(again.end, scores.end)


@pytest.mark.parametrize("scheme", [TagScheme.IOB2, TagScheme.IOB1, TagScheme.BIOES])
def test_what_is_decoded_is_well_formed(scheme):
    labels = ["O", "B-X", "I-X", "E-X", "S-X", "I-Y", "B-Y"] if scheme is TagScheme.BIOES else LABELS
    lengths = [7, 1, 30, 0, 2] * 80
    logits, offsets, _ = random_case(3, lengths, len(labels))
    decoded = decode_constrained(logits, offsets, forbid_illegal(labels, scheme))
    assert count_ill_formed(TagColumn.of_sequences(name_tags(logits.argmax(-1), offsets, labels)), scheme) > 0
    assert count_ill_formed(TagColumn.of_sequences(name_tags(decoded, offsets, labels)), scheme) == 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_well_formed_predictions_stay_as_they_are(seed):
    logits, offsets, _ = random_case(seed, [3, 9, 1], len(LABELS))
    free = logits.argmax(-1)
    decoded = decode_constrained(logits, offsets, forbid_illegal(LABELS, TagScheme.IOB2))
    for start, end in pairwise(offsets):
        if count_ill_formed(TagColumn.of_sequences([[LABELS[i] for i in free[start:end]]]), TagScheme.IOB2) == 0:
            assert decoded[start:end].tolist() == free[start:end].tolist()


def test_an_inner_tag_after_the_wrong_type_is_forbidden():
    logits = np.log([[0.1, 0.8, 0.0001, 0.05, 0.05], [0.2, 0.01, 0.29, 0.1, 0.4]])
    assert logits.argmax(-1).tolist() == [1, 4]
    assert decode_constrained(logits, [0, 2], forbid_illegal(LABELS, TagScheme.IOB2)).tolist() == [1, 2]


def test_where_nothing_is_legal_the_least_illegal_wins():
    transitions = forbid_illegal(["I-X", "I-Y"], TagScheme.IOB2)
    logits = np.array([[1.0, 0.0], [0.0, 3.0]])
    assert decode_constrained(logits, [0, 2], transitions).tolist() == [1, 1]


def test_huge_logits_do_not_overflow():
    decoded = decode_constrained([[1e4, 0.0], [-1e4, 0.0]], [0, 1, 2], forbid_illegal(["A", "B"], TagScheme.POS))
    assert decoded.tolist() == [0, 1]


def test_transitions_are_those_of_the_counts():
    sequences = [[0, 1, 2], [0], [], [1, 2, 0, 0]]
    ids, offsets = [label for tags in sequences for label in tags], offsets_of([len(tags) for tags in sequences])
    found = estimate_transitions(ids, offsets, 3, smoothing=0.5)
    counts = np.full((4, 4), 0.5)
    for tags in sequences:
        for before, after in zip([3, *tags], [*tags, 3], strict=True):
            counts[before, after] += 1
    conditional = counts / counts.sum(1, keepdims=True)
    prior = counts.sum(0) / counts.sum()
    assert np.allclose(found.start, np.log(conditional[3, :3] / prior[:3]))
    assert np.allclose(found.pairs, np.log(conditional[:3, :3] / prior[:3]))
    assert np.allclose(found.end, np.log(conditional[:3, 3] / prior[3]))
