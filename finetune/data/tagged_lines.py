"""What tags of spans look like, and whether lines are words with such tags: for telling files of one task from another's."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import islice

SPAN_TAG = re.compile(r"(?:[BIESLUMW][-_:].+|.+[-_:][BIESLUMW])", re.DOTALL)
LOWER_LETTERS = tuple("bieslumwo")
LOWER_PREFIX = re.compile(r"[bieslumw][-_:].")
LOWER_SUFFIX = re.compile(r".[-_:][bieslumw]\Z")
TAGGED_SUFFIXES = (".conll", ".conllu", ".iob", ".iob2", ".bio", ".bioes", ".bmes")
LINES_LOOKED_AT = 200


def are_span_tags(tags: Collection[str]) -> bool:
    """Whether tags spell spans: all are `O` or like `B-PER`, and one is not; beside an `O` or `o` also like `b-per`."""
    inside = [tag for tag in tags if tag not in ("O", "o")]
    if len(inside) < len(tags):
        inside = [raise_letter(tag) for tag in inside]
    return bool(inside) and all(SPAN_TAG.fullmatch(tag) for tag in inside)


def raise_letter(tag: str) -> str:
    """A tag in lower case with the letter of its scheme in upper case; any other as it stands.

    >>> raise_letter("b-per"), raise_letter("per-i"), raise_letter("o"), raise_letter("noun"), raise_letter("B-x-b")
    ('B-per', 'per-I', 'O', 'noun', 'B-x-b')
    """
    if SPAN_TAG.fullmatch(tag):
        return tag
    if tag in LOWER_LETTERS or LOWER_PREFIX.match(tag):
        return tag[0].upper() + tag[1:]
    return tag[:-1] + tag[-1].upper() if LOWER_SUFFIX.search(tag) else tag


def are_tagged_lines(lines: Sequence[str]) -> bool:
    """Whether most lines end in a tag of spans, as those of a CoNLL file do."""
    content = list(
        islice((line.split() for line in lines if line.strip() and not line.startswith("#")), LINES_LOOKED_AT)
    )
    last = [row[-1] for row in content if len(row) > 1]
    tagged = [tag for tag in last if tag == "O" or SPAN_TAG.fullmatch(tag)]
    return len(tagged) * 10 > len(content) * 8 and any(tag != "O" for tag in tagged)
