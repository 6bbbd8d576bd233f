"""Labels that look alike: those that differ in white space, case, marks or Unicode form only, in every task."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Mapping

from finetune.data.files import listed

INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))  # zero-width characters, soft hyphen
QUOTES, ENDINGS = "'\"`‘’“”„«»", ".,;:"


def fold_label(label: str) -> str:
    """What labels that look alike have in common.

    Gone are case, white space, what cannot be seen, quotes around and a point or comma behind it; any dash or underscore
    is a space, and a digit of any script its value. A label of signs alone stays itself.

    >>> [fold_label(label) for label in ("Very_Good.", "non‑toxic", "'๓'", "$.", "C++")]
    ['very good', 'non toxic', '3', '$.', 'c++']
    """
    text = unicodedata.normalize("NFKC", label).translate(INVISIBLE).casefold().strip()
    bare = text.strip(QUOTES).rstrip(ENDINGS).strip(QUOTES).strip()
    if not bare or not (bare[0].isalnum() and bare[-1].isalnum()):
        return " ".join(text.split())
    return " ".join("".join(map(_fold_character, bare)).split())


def _fold_character(letter: str) -> str:
    if letter.isdecimal():
        return str(unicodedata.decimal(letter))
    return " " if letter == "_" or unicodedata.category(letter) == "Pd" else letter


def find_alike(counts: Mapping[str, int]) -> list[list[str]]:
    """Groups of labels that look alike, the most frequent spelling of each first (of equals the one met first)."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        groups[fold_label(label)].append(label)
    return [sorted(group, key=lambda label: -counts[label]) for group in groups.values() if len(group) > 1]


def unify_labels(counts: Mapping[str, int]) -> dict[str, str]:
    """The spelling to take for each label that looks like another."""
    return {label: group[0] for group in find_alike(counts) for label in group[1:]}


def describe_alike(counts: Mapping[str, int], *, unified: bool, noun: str = "labels") -> list[str]:
    """Sentences about labels that look alike: what was made one, or the flag that does it."""
    notes = []
    for group in find_alike(counts):
        spelt = listed([f"{label!r} ({counts[label]:,})" for label in group])
        what = f"The {noun} {spelt} differ in white space, case, marks or Unicode form only"
        remedy = f"all are read as {group[0]!r}" if unified else "--normalize_labels makes them one"
        notes.append(f"{what}; {remedy}." if unified else f"{what}, and are learnt as {len(group)} of them; {remedy}.")
    return notes
