from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from finetune.classification.published.semeval import Aspect, ReviewSentence, count_labels, read_semeval
from finetune.classification.published.semeval_preparation import (
    describe_pairs,
    keep_labelled,
    read_shares,
    split_pairs,
    split_sentences,
    upsample_pairs,
    write_semeval,
)
from finetune.errors import UsageError


def sentence(number: int, *labels: str) -> ReviewSentence:
    text = f"sentence {number} names " + " ".join(f"t{i}" for i in range(len(labels)))
    aspects = [Aspect(f"t{i}", label, text.index(f"t{i}"), text.index(f"t{i}") + 2) for i, label in enumerate(labels)]
    return ReviewSentence(text, number, aspects=aspects)


SENTENCES = [sentence(number, "POS", "NEG" if number % 3 else "NEU") for number in range(50)]


def test_split_has_no_sentence_twice_and_follows_the_seed() -> None:
    train, dev = split_sentences(SENTENCES, seed=41)
    assert (len(train), len(dev)) == (45, 5)
    assert {item.text for item in train} & {item.text for item in dev} == set()
    assert split_sentences(SENTENCES, seed=41)[1] == dev
    assert split_sentences(SENTENCES, seed=42)[1] != dev


def test_upsampling_reaches_the_shares_and_keeps_text_and_label_together() -> None:
    pairs = split_pairs(SENTENCES)
    shares = read_shares("0.5 0.25 0.25")
    grown = upsample_pairs(pairs, shares, seed=41)
    counts = count_labels(grown)
    total = counts.total()
    assert total >= len(pairs)
    assert {label: pytest.approx(count / total, abs=0.02) for label, count in counts.items()} == shares
    assert {(item.text, item.aspects[0]) for item in grown} == {(item.text, item.aspects[0]) for item in pairs}
    assert Counter(item.text for item in pairs) <= Counter(item.text for item in grown)
    assert upsample_pairs(pairs, shares, seed=41) == grown


def test_shares_that_add_up_only_roughly_are_taken() -> None:
    assert 0.7 + 0.2 + 0.1 != 1.0  # what an exact comparison would refuse
    assert read_shares("0.7 0.2 0.1") == {"POS": 0.7, "NEG": 0.2, "NEU": 0.1}


@pytest.mark.parametrize("text", ["0.5 0.5", "0.5 0.2 0.2", "a b c", "1.0 0.5 -0.5"])
def test_other_shares_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="three numbers above 0 that add up to 1"):
        read_shares(text)


def test_conflicts_go_and_so_do_sentences_left_bare() -> None:
    sentences = [sentence(0, "CONF"), sentence(1, "POS", "CONF"), ReviewSentence("bare", 2)]
    assert [len(item.aspects) for item in keep_labelled(sentences, drop_conflicts=True)] == [1]
    assert [len(item.aspects) for item in keep_labelled(sentences, drop_conflicts=False)] == [1, 2]


def test_written_files_read_back(tmp_path: Path) -> None:
    pairs = split_pairs(
        [sentence(0, "POS", "CONF"), ReviewSentence("a < b & c", 1, aspects=[Aspect("b", "NEU", 4, 5)])]
    )
    write_semeval(tmp_path / "train.xml", pairs)
    again = read_semeval(tmp_path / "train.xml")
    for before, after in zip(pairs, again, strict=True):
        assert after.text == before.text
        (kept,) = after.aspects
        (original,) = before.aspects
        assert (kept.name, kept.label, kept.start, kept.end) == (
            original.name,
            original.label,
            original.start,
            original.end,
        )


def test_statistics_in_words() -> None:
    text = str(describe_pairs("Train", SENTENCES))
    assert "#Sentences with minimum 1 label 50" in text
    assert "#SentencePairs 100" in text
    assert "POS% 0.5" in text
    assert f"NEG/NEU {33 / 17:.6g}" in text
