"""What tags of spans look like, and whether lines are words with such tags: for telling files of one task from another's."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import islice

SPAN_TAG = re.compile(r"(?:[BIESLUMW][-_:].+|.+[-_:][BIESLUMW])", re.DOTALL)
TAGGED_SUFFIXES = (".conll", ".conllu", ".iob", ".iob2", ".bio", ".bioes", ".bmes")
LINES_LOOKED_AT = 200


def are_span_tags(tags: Collection[str]) -> bool:
    """Whether tags spell spans: all are `O` or like `B-PER`, and one is not `O`."""
    inside = [tag for tag in tags if tag != "O"]
    return bool(inside) and all(SPAN_TAG.fullmatch(tag) for tag in inside)


def are_tagged_lines(lines: Sequence[str]) -> bool:
    """Whether most lines end in a tag of spans, as those of a CoNLL file do."""
    content = list(
        islice((line.split() for line in lines if line.strip() and not line.startswith("#")), LINES_LOOKED_AT)
    )
    last = [row[-1] for row in content if len(row) > 1]
    tagged = [tag for tag in last if tag == "O" or SPAN_TAG.fullmatch(tag)]
    return len(tagged) * 10 > len(content) * 8 and any(tag != "O" for tag in tagged)
