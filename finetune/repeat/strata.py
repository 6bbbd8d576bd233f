"""Folds in which every label is as frequent as in the whole, rare ones too.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011), with the rarest label first: each of its examples goes to
the fold that lacks most of the label, among those to the one that lacks most examples.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence

from finetune.data.json_values import parse_json
from finetune.data.separated_rows import split_cells

LABEL_KEYS = ("label", "labels", "ner_tags", "tags", "ner", "pos_tags", "pos", "category", "sentiment")
FASTTEXT = re.compile(r"__label__\S+")
OUTSIDE, BORDER = "O", re.compile(r"^[BIESLU]-")
Labels = frozenset[str]


def read_json_labels(example: str, column: str | None) -> Labels:
    """Labels of a JSON object; none where it has no such key."""
    row = parse_json(example)
    key = next((name for name in ((column,) if column else LABEL_KEYS) if name in row), None)
    if key is None:
        return frozenset()
    value = row[key]
    return name_labels(list(map(str, value)) if isinstance(value, list) else [str(value)])


def read_tagged_labels(example: str, _column: str | None) -> Labels:
    """Labels in the last column of the lines of a sentence, or fastText's in a line."""
    if found := FASTTEXT.findall(example):
        return frozenset(found)
    cells = [line.split() for line in example.splitlines()]
    return name_labels([row[-1] for row in cells if len(row) > 1])


def make_table_reader(header: str, delimiter: str) -> Callable[[str, str | None], Labels]:
    """Labels of a row of a table: the named column, a usual one, or the last."""
    names = [name.strip() for name in split_cells(header, delimiter)]

    def read(example: str, column: str | None) -> Labels:
        wanted = (column,) if column else (*LABEL_KEYS, names[-1] if names else "")
        place = next((names.index(name) for name in wanted if name in names), len(names))
        row = split_cells(example, delimiter)
        return frozenset({row[place]}) if len(row) > place else frozenset()

    return read


def name_labels(tags: Sequence[str]) -> Labels:
    """Types of tags; O is in nearly every sentence, and tells none from another."""
    return frozenset(BORDER.sub("", tag) for tag in tags if tag != OUTSIDE)


def stratify(labels: Sequence[Labels], sizes: Sequence[int], number: int, seed: int) -> list[int]:
    """The fold of each item, of which `sizes` are the examples (equal ones stay together).

    Every choice that the rule leaves open is drawn by the seed.
    """
    generator = random.Random(seed)
    order = list(range(len(labels)))
    generator.shuffle(order)
    turns = list(range(number))
    generator.shuffle(turns)
    totals = Counter(label for there, size in zip(labels, sizes, strict=True) for label in sorted(there) * size)
    lacks = {label: [total / number] * number for label, total in totals.items()}
    room = [sum(sizes) / number] * number
    fold_of: dict[int, int] = {}

    def place(item: int, label: str | None) -> None:
        wanted = lacks[label] if label is not None else room
        fold = max(turns, key=lambda fold: (round(wanted[fold], 9), round(room[fold], 9)))
        fold_of[item] = fold
        room[fold] -= sizes[item]
        for own in labels[item]:
            lacks[own][fold] -= sizes[item]

    for label in sorted(totals, key=lambda label: (totals[label], label)):
        for item in order:
            if item not in fold_of and label in labels[item]:
                place(item, label)
    for item in order:
        if item not in fold_of:
            place(item, None)
    return [fold_of[item] for item in range(len(labels))]
