"""The embedded sample: English sentences with persons, organizations, places, dates and products, made by a generator.

It needs no download, is the same everywhere, and is small enough to train on in minutes, yet not trivial: the same
name is a person, a firm or a town by its sentence; names hide in longer ones (`Lisbon City Council`); some are common
words; messages come without capitals; words are misspelt; validation and test have names and sentence patterns that
training lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from finetune.tagging.formats.sentences import Sentences
from finetune.tagging.published import sample_words as lists

SAMPLE_SEED = 2020  # the corpus has a name, so it is always the same
SAMPLE_SIZES = {"train": 2400, "validation": 400, "test": 600}
TYPES = ("PER", "ORG", "LOC", "DATE", "PRODUCT")
SAMPLE_TAGS = ("O", *(f"{letter}-{kind}" for kind in TYPES for letter in "BI"))

UNSEEN_NAMES = 0.3  # of each list of names: kept out of training
UNSEEN_PATTERN_SHARE = 0.35  # of the sentences of validation and test
LOWER_CASED = 0.3
MISSPELT_WORDS = 0.02

Subwords = list[tuple[str, str]]  # (word, tag)
Builder = Callable[["Names", Random], str]


@dataclass(frozen=True)
class Names:
    """The names that one split may use."""

    first: Sequence[str]
    last: Sequence[str]
    place: Sequence[str]
    brand: Sequence[str]
    ambiguous: Sequence[str]
    common: Sequence[str] = ()


@dataclass(frozen=True)
class Grammar:
    """What sentences are made of: patterns, builders of entities by type, ordinary words by slot.

    `cut` takes a pattern or a built name apart into words.
    """

    patterns: Sequence[str]
    unseen_patterns: Sequence[str]
    builders: Mapping[str, Builder]
    ordinary: Mapping[str, Sequence[str]]
    cut: Callable[[str], list[str]]
    finish: Callable[[Subwords, Random], Subwords] = field(default=lambda subwords, _: subwords)


def make_sample(seed: int = SAMPLE_SEED, sizes: Mapping[str, int] = SAMPLE_SIZES) -> dict[str, Sentences]:
    """The splits of the English sample, tagged in IOB2."""
    names = Names(
        first=lists.FIRST_NAMES,
        last=lists.SURNAMES,
        place=lists.PLACES,
        brand=lists.BRANDS,
        ambiguous=lists.AMBIGUOUS_NAMES,
        common=lists.COMMON_WORD_NAMES,
    )
    return make_splits(ENGLISH, names, seed, sizes)


def make_splits(grammar: Grammar, names: Names, seed: int, sizes: Mapping[str, int]) -> dict[str, Sentences]:
    """Splits of a grammar. Training sees only a part of the names and of the patterns."""
    random = Random(seed)
    known = _known_names(names, random)
    made: set[tuple[str, ...]] = set()  # no sentence comes twice, so the held-out ones are new
    splits = {}
    for split, size in sizes.items():
        training = split == "train"
        sentences = Sentences([], [], [0] * size)
        while len(sentences.words) < size:
            subwords = _make_sentence(grammar, known if training else names, random, unseen=not training)
            words = tuple(word for word, _ in subwords)
            if words not in made and sentences.tags is not None:
                made.add(words)
                sentences.words.append(list(words))
                sentences.tags.append([tag for _, tag in subwords])
        splits[split] = sentences
    return splits


def _known_names(names: Names, random: Random) -> Names:
    """The part of each list that training sees."""
    return Names(**{key: _sample(values, 1 - UNSEEN_NAMES, random) for key, values in vars(names).items()})


def _sample(values: Sequence[str], share: float, random: Random) -> list[str]:
    return random.sample(list(values), round(share * len(values)))


def _make_sentence(grammar: Grammar, names: Names, random: Random, *, unseen: bool) -> Subwords:
    from_unseen = unseen and random.random() < UNSEEN_PATTERN_SHARE
    pattern = random.choice(grammar.unseen_patterns if from_unseen else grammar.patterns)
    subwords: Subwords = []
    for part in grammar.cut(pattern):
        slot = part[1:-1] if part.startswith("{") else ""
        if slot in grammar.builders:
            words = grammar.cut(grammar.builders[slot](names, random))
            subwords += [(word, f"{'I' if index else 'B'}-{slot}") for index, word in enumerate(words)]
        else:
            words = grammar.cut(random.choice(grammar.ordinary[slot])) if slot else [part]
            subwords += [(word, "O") for word in words]
    return grammar.finish(subwords, random)


def _person(names: Names, random: Random) -> str:
    kind = random.random()
    if kind < 0.45:
        return f"{_given(names, random)} {random.choice(_mixed(names.last, names.ambiguous, random, 0.25))}"
    if kind < 0.75:
        return random.choice(_mixed(names.last, names.ambiguous, random, 0.5))
    return _given(names, random)


def _given(names: Names, random: Random) -> str:
    return random.choice(_mixed(names.first, names.common, random, 0.25))


def _organization(names: Names, random: Random) -> str:
    kind = random.random()
    base = random.choice(_mixed(names.brand, names.ambiguous, random, 0.35))
    if kind < 0.35:
        return base
    if kind < 0.60:
        return f"{_mixed_one(base, names.last, random)} {random.choice(lists.COMPANY_ENDINGS)}"
    if kind < 0.75:
        return f"{_place_name(names, random)} {random.choice(lists.PLACE_BODIES)}"
    if kind < 0.85:
        return f"University of {_place_name(names, random)}"
    if kind < 0.95:
        return f"{random.choice(names.last)} {random.choice(lists.NAMED_BODIES)}"
    return f"Bank of {_place_name(names, random)}"


def _place(names: Names, random: Random) -> str:
    kind = random.random()
    if kind < 0.75:
        return _place_name(names, random)
    if kind < 0.90:
        return f"{random.choice(_mixed(names.last, names.ambiguous, random, 0.5))} {random.choice(lists.PLACE_KINDS)}"
    return f"{random.choice(('North', 'South', 'New', 'Mount', 'Lake'))} {random.choice(names.ambiguous)}"


def _place_name(names: Names, random: Random) -> str:
    return random.choice(_mixed(names.place, names.ambiguous, random, 0.4))


def _product(names: Names, random: Random) -> str:
    brand = random.choice(names.brand)
    kind = random.random()
    if kind < 0.55:
        return f"{brand} {random.choice(lists.PRODUCT_KINDS)}"
    if kind < 0.75:
        return f"{brand} {random.choice(names.brand)}"
    return brand


def _date(names: Names, random: Random) -> str:
    del names
    month, weekday = random.choice(lists.MONTHS), random.choice(lists.WEEKDAYS)
    day, year = random.randint(1, 28), random.randint(1998, 2024)
    forms = (
        *(weekday, f"last {weekday}", f"next {weekday}", "yesterday", "today", "tomorrow", "this summer", "last week"),
        *(f"{month} {day}", f"{day} {month} {year}", f"{month} {year}", f"{month} {day} , {year}", f"early {month}"),
    )
    return random.choice(forms)


def _mixed(usual: Sequence[str], other: Sequence[str], random: Random, share: float) -> Sequence[str]:
    return other if random.random() < share else usual


def _mixed_one(value: str, other: Sequence[str], random: Random) -> str:
    return random.choice(other) if random.random() < 0.5 else value


def _write_carelessly(subwords: Subwords, random: Random) -> Subwords:
    """Some sentences lose their capitals, some words are misspelt."""
    if random.random() < LOWER_CASED:
        subwords = [(word.lower(), tag) for word, tag in subwords]
    return [(_misspell(word, random) if random.random() < MISSPELT_WORDS else word, tag) for word, tag in subwords]


def _misspell(word: str, random: Random) -> str:
    """A letter left out, doubled, or changed with the next one; short words stay."""
    if len(word) < 4:
        return word
    at = random.randrange(1, len(word) - 1)
    return random.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        )
    )


ENGLISH = Grammar(
    patterns=lists.PATTERNS,
    unseen_patterns=lists.UNSEEN_PATTERNS,
    builders={"PER": _person, "ORG": _organization, "LOC": _place, "DATE": _date, "PRODUCT": _product},
    ordinary=lists.ORDINARY,
    cut=str.split,
    finish=_write_carelessly,
)
