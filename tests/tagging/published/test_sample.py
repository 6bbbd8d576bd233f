from __future__ import annotations

from itertools import chain

import pytest

from finetune.tagging.formats.sentences import Sentences
from finetune.tagging.published.dummy import NER_TAGS, POS_TAGS, make_dummytest
from finetune.tagging.published.sample import SAMPLE_SIZES, SAMPLE_TAGS, TYPES, make_sample
from finetune.tagging.published.sample_thai import THAI_SIZES, make_thai_sample

SAMPLES = {"english": (make_sample, SAMPLE_SIZES), "thai": (make_thai_sample, THAI_SIZES)}


def entities(sentences: Sentences) -> set[tuple[str, str]]:
    """(type, lower-cased text) of every entity."""
    assert sentences.tags is not None
    found = set()
    for words, tags in zip(sentences.words, sentences.tags, strict=True):
        starts = [index for index, tag in enumerate(tags) if tag.startswith("B-")]
        for start in starts:
            end = next((index for index in range(start + 1, len(tags)) if not tags[index].startswith("I-")), len(tags))
            found.add((tags[start][2:], " ".join(words[start:end]).lower()))
    return found


@pytest.fixture(scope="module", params=SAMPLES)
def case(request: pytest.FixtureRequest) -> tuple[dict[str, Sentences], dict[str, int]]:
    make, sizes = SAMPLES[request.param]
    return make(), sizes


def test_sizes_and_well_formed_tags(case: tuple) -> None:
    splits, sizes = case
    assert {split: len(part.words) for split, part in splits.items()} == sizes
    for part in splits.values():
        assert part.tags is not None
        for words, tags in zip(part.words, part.tags, strict=True):
            assert len(words) == len(tags) > 0
            assert all(words)
            for before, tag in zip(["O", *tags], tags, strict=False):
                assert not tag.startswith("I-") or before[2:] == tag[2:]
    assert set(chain.from_iterable(splits["train"].tags)) == set(SAMPLE_TAGS)


def test_held_out_sentences_are_new_and_so_are_many_names(case: tuple) -> None:
    splits, _ = case
    seen = {tuple(words) for words in splits["train"].words}
    assert len(seen) == len(splits["train"].words)
    assert not seen & {tuple(words) for words in splits["test"].words}
    trained, tested = entities(splits["train"]), entities(splits["test"])
    for kind in ("PER", "ORG"):
        names = {name for type_, name in tested if type_ == kind}
        assert 0.3 < len([name for name in names if (kind, name) not in trained]) / len(names) < 0.9


def test_the_same_name_is_of_several_types(case: tuple) -> None:
    splits, _ = case
    types: dict[str, set[str]] = {}
    for kind, name in entities(splits["train"]):
        types.setdefault(name, set()).add(kind)
    ambiguous = [name for name, kinds in types.items() if len(kinds) > 1]
    assert len(ambiguous) > 5
    assert len([name for name, kinds in types.items() if {"PER", "ORG", "LOC"} <= kinds]) > 2


def test_some_sentences_name_nothing_and_every_type_is_common(case: tuple) -> None:
    splits, _ = case
    tags = splits["test"].tags
    empty = sum(set(row) == {"O"} for row in tags)
    assert 0.02 < empty / len(tags) < 0.35
    for kind in TYPES:
        assert sum(tag == f"B-{kind}" for tag in chain.from_iterable(tags)) > 20


@pytest.mark.parametrize("make", [make_sample, make_thai_sample])
def test_a_seed_makes_the_same_sentences(make) -> None:
    sizes = {"train": 30, "test": 10}
    first, again, other = make(1, sizes), make(1, sizes), make(2, sizes)
    assert first["test"].words == again["test"].words
    assert first["test"].tags == again["test"].tags
    assert first["test"].words != other["test"].words


def test_thai_sentences_have_spaces_as_words() -> None:
    words = list(chain.from_iterable(make_thai_sample()["train"].words))
    assert 0.05 < words.count(" ") / len(words) < 0.4
    assert not any(" " in word for word in words if word != " ")


def test_messages_without_capitals() -> None:
    words = make_sample()["train"].words
    lower_cased = sum(all(word == word.lower() for word in row) for row in words)
    assert 0.2 < lower_cased / len(words) < 0.6


@pytest.mark.parametrize(("task", "tags"), [("ner_tags", NER_TAGS), ("pos_tags", POS_TAGS)])
def test_dummytest_has_its_sizes_and_classes(task: str, tags: tuple[str, ...]) -> None:
    splits = make_dummytest(task, 7)
    assert {split: len(part.words) for split, part in splits.items()} == {"train": 50, "validation": 10, "test": 10}
    words = [word for part in splits.values() for row in part.words for word in row]
    assert all(len(word) == 8 and word.isascii() and word.islower() for word in words)
    lengths = [len(row) for part in splits.values() for row in part.words]
    assert 1 <= min(lengths) <= max(lengths) <= 49
    used = {tag for part in splits.values() for row in part.tags or [] for tag in row}
    assert used == set(tags)
    assert len(tags) == (10 if task == "ner_tags" else 20)
    assert make_dummytest(task, 7)["test"].words == splits["test"].words
    assert make_dummytest(task, 8)["test"].words != splits["test"].words
