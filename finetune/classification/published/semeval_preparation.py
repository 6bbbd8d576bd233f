"""SemEval-2014 files -> train, dev and test files of one sentence-aspect pair each, with statistics.

What `prepare_semeval_datasets.py` of "Adapt or Get Left Behind" (Rietzler et al. 2020) does, with its mistakes mended:
the seed is used, sentences and labels are shuffled together, offsets are kept, and shares need not add up to exactly 1.
"""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from finetune.classification.published.semeval import (
    CONFLICT,
    ELEMENTS,
    LABELS,
    POLARITIES,
    AspectKind,
    ReviewSentence,
    count_labels,
    read_semeval,
)
from finetune.errors import Problem, ProblemList, UsageError

logger = logging.getLogger(__name__)

DEV_SHARE = 0.1
SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class PairStatistics:
    """What is printed of a set: sentences with at least one aspect, pairs, labels."""

    name: str
    sentences: int
    labels: Counter[str]

    def __str__(self) -> str:
        total = self.labels.total()
        lines = [
            f"Dataset: {self.name}",
            f"#Sentences with minimum 1 label {self.sentences}",
            f"Label Counts {self.labels.most_common()}",
            f"#SentencePairs {total}",
            *(f"{label}% {_divide(self.labels[label], total)}" for label in LABELS),
            *(
                f"{first}/{second} {_divide(self.labels[first], self.labels[second])}"
                for first, second in (("POS", "NEG"), ("POS", "NEU"), ("NEG", "NEU"))
            ),
        ]
        return "\n".join(lines) + "\n"


def _divide(part: int, whole: int) -> str:
    return f"{part / whole:.6g}" if whole else "undefined"


def describe_pairs(name: str, pairs: Sequence[ReviewSentence]) -> PairStatistics:
    """Statistics of pairs as they are written, repeated ones included; a sentence of several pairs counts once."""
    distinct = {(pair.line, pair.id, pair.text) for pair in pairs if pair.aspects}
    return PairStatistics(name, len(distinct), count_labels(pairs))


def keep_labelled(sentences: Sequence[ReviewSentence], *, drop_conflicts: bool) -> list[ReviewSentence]:
    """Sentences with at least one aspect, without conflicting ones where these are dropped."""
    kept = [
        replace(
            sentence, aspects=[item for item in sentence.aspects if not (drop_conflicts and item.label == CONFLICT)]
        )
        for sentence in sentences
    ]
    return [sentence for sentence in kept if sentence.aspects]


def describe_dropped(path: Path, sentences: Sequence[ReviewSentence], *, drop_conflicts: bool) -> list[str]:
    """What of a file is in no set, counted: conflicting aspects, and sentences without any other or without any at all."""
    bare = sum(not sentence.aspects for sentence in sentences)
    notes = [f"{path}: {bare:,} of {len(sentences):,} sentences have no aspect and are left out."] if bare else []
    conflicts = [[item.label == CONFLICT for item in sentence.aspects] for sentence in sentences]
    count, only = sum(map(sum, conflicts)), sum(bool(marks) and all(marks) for marks in conflicts)
    if count and drop_conflicts:
        notes.append(
            f"{path}: {count:,} conflicting aspects were dropped, and with them {only:,} sentences of no other."
        )
    return notes


def split_sentences(
    sentences: Sequence[ReviewSentence], seed: int, share: float = DEV_SHARE
) -> tuple[list[ReviewSentence], list[ReviewSentence]]:
    """A train and a dev part, drawn by sentences, so that no sentence is in both; both keep the order of the file."""
    order = np.random.default_rng(seed).permutation(len(sentences))
    chosen = set(order[: int(share * len(sentences))].tolist())
    train = [sentence for index, sentence in enumerate(sentences) if index not in chosen]
    return train, [sentence for index, sentence in enumerate(sentences) if index in chosen]


def split_pairs(sentences: Sequence[ReviewSentence]) -> list[ReviewSentence]:
    """One sentence per aspect."""
    return [replace(sentence, aspects=[aspect]) for sentence in sentences for aspect in sentence.aspects]


def read_shares(text: str) -> dict[str, float]:
    """The shares of `--upsample "POS NEG NEU"`.

    Raises:
        UsageError: they are not three positive numbers that add up to 1.
    """
    allowed = "three numbers above 0 that add up to 1 are allowed, for POS, NEG and NEU, such as '0.53 0.21 0.26'"
    try:
        shares = [float(word) for word in text.split()]
    except ValueError:
        raise UsageError(Problem(f"--upsample is {text!r}", allowed)) from None
    if len(shares) != len(LABELS) or min(shares) <= 0 or abs(sum(shares) - 1) > SUM_TOLERANCE:
        raise UsageError(Problem(f"--upsample is {text!r}", allowed))
    return dict(zip(LABELS, shares, strict=True))


def upsample_pairs(pairs: Sequence[ReviewSentence], shares: dict[str, float], seed: int) -> list[ReviewSentence]:
    """Repeat pairs, drawn by chance with replacement, until labels have these shares; then shuffle.

    Nothing is taken away: the label that needs no repetition sets the size. Pairs have one labelled aspect each.
    """
    random = np.random.default_rng(seed)
    places = {label: [i for i, pair in enumerate(pairs) if pair.aspects[0].label == label] for label in shares}
    missing = [label for label, found in places.items() if not found]
    if missing:
        raise UsageError(Problem(f"there is no pair with the label {missing[0]} to repeat", remedy="drop --upsample"))
    size = max(len(found) / shares[label] for label, found in places.items())
    added = [
        int(index)
        for label, found in places.items()
        for index in random.choice(found, size=int(shares[label] * size + SUM_TOLERANCE) - len(found))
    ]
    every = [*range(len(pairs)), *added]
    return [pairs[every[index]] for index in random.permutation(len(every))]


def write_semeval(path: Path, sentences: Sequence[ReviewSentence], kind: AspectKind = AspectKind.TERM) -> None:
    """Write SemEval-2014 XML; offsets are written where they are known.

    Sentences keep their ids, so that pairs of one sentence share its id; those without are counted from 0.
    """
    element, attribute = ELEMENTS[kind]
    polarities = {label: polarity for polarity, label in POLARITIES.items()}
    root = ElementTree.Element("sentences")
    for number, sentence in enumerate(sentences):
        node = ElementTree.SubElement(root, "sentence", id=str(number) if sentence.id is None else sentence.id)
        ElementTree.SubElement(node, "text").text = sentence.text
        group = ElementTree.SubElement(node, "aspectTerms" if kind is AspectKind.TERM else "aspectCategories")
        for aspect in sentence.aspects:
            facts = {attribute: aspect.name}
            facts |= {"polarity": polarities[aspect.label]} if aspect.label else {}
            facts |= {} if aspect.start is None else {"from": str(aspect.start), "to": str(aspect.end)}
            ElementTree.SubElement(group, element, facts)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def prepare_sets(
    paths: Sequence[Path],
    kind: AspectKind,
    *,
    is_train: bool,
    drop_conflicts: bool,
    shares: dict[str, float] | None,
    seed: int,
) -> dict[str, list[ReviewSentence]]:
    """The pairs to write of train, dev and train_split, or of test.

    Each file gives a tenth of its sentences to dev. With `shares`, pairs of train and train_split are repeated.

    Raises:
        DataError: all problems of all files.
    """
    problems = ProblemList()
    read = [problems.attempt(read_semeval, path, kind) for path in paths]
    problems.raise_any()
    known = [sentences for sentences in read if sentences is not None]
    for path, sentences in zip(paths, known, strict=True):
        for note in describe_dropped(path, sentences, drop_conflicts=drop_conflicts):
            logger.warning("%s", note)
    files = [keep_labelled(sentences, drop_conflicts=drop_conflicts) for sentences in known]
    merged = [sentence for sentences in files for sentence in sentences]
    if not is_train:
        return {"test": split_pairs(merged)}
    parts = [split_sentences(sentences, seed) for sentences in files]
    sets = {
        "train": merged,
        "dev": [sentence for _, dev in parts for sentence in dev],
        "train_split": [sentence for train, _ in parts for sentence in train],
    }
    pairs = {name: split_pairs(sentences) for name, sentences in sets.items()}
    for name in ("train", "train_split") if shares else ():
        pairs[name] = upsample_pairs(pairs[name], shares or {}, seed)
    return pairs
