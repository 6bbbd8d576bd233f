"""`dummytest`: random letters with random tags, to see that a command runs; nothing can be learnt from it."""

from __future__ import annotations

import string

import numpy as np

from finetune.tagging.formats.sentences import Sentences

SIZES = {"train": 50, "validation": 10, "test": 10}
LONGEST = 49
LETTERS_A_WORD = 8
NER_TAGS = ("O", *(f"B-{number}" for number in range(1, 10)))
POS_TAGS = tuple(str(number) for number in range(20))


def make_dummytest(task: str, seed: int) -> dict[str, Sentences]:
    """Sentences of 1 to 49 words of eight letters; `ner_tags` draws from 10 tags, `pos_tags` from 20."""
    tags = POS_TAGS if task == "pos_tags" else NER_TAGS
    generator = np.random.default_rng(seed)
    return {split: _make_split(size, tags, generator) for split, size in SIZES.items()}


def _make_split(size: int, tags: tuple[str, ...], generator: np.random.Generator) -> Sentences:
    sentences = Sentences([], [], [0] * size)
    for length in generator.integers(1, LONGEST + 1, size):
        letters = generator.choice(list(string.ascii_lowercase), (length, LETTERS_A_WORD))
        sentences.words.append(["".join(word) for word in letters])
        if sentences.tags is not None:
            sentences.tags.append([tags[index] for index in generator.integers(0, len(tags), length)])
    return sentences
