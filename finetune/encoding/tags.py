"""Tag schemes: how a sequence of tags spells spans (entities, chunks), read, written, checked and repaired.

Tags are spelt `B-PER` here: one letter, a hyphen, the type; `O` is outside. `canonical_spellings` brings other habits
(`B_PER`, `PER-B`) to that form. Schemes (Ramshaw and Marcus 1995; Ratinov and Roth 2009 for BILOU):

- IOB1: `I-` inside; `B-` only where a span directly follows another of its type
- IOB2: `B-` begins every span, `I-` continues it
- BIOE: as IOB2, and `E-` ends every span of several words (LST20)
- BIOES, BILOU: also one letter for spans of one word (`S-`, `U-`); the end is `E-` or `L-`
- IO: only `I-`; two spans of one type cannot touch

BMES (`M-` inside, ResumeNER) and BMEWO (`W-` alone) are BIOES in other letters and are read as it. IOE1 and IOE2, which
mark ends (`E-`) and no begins, are read with their own rules and go on as IOB2 (`read_end_marked`).

- POS: no spans, one free tag per word
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from finetune.data.tagged_lines import are_span_tags, raise_letter
from finetune.errors import DataError, Problem

if TYPE_CHECKING:
    from finetune.encoding.tag_column import TagColumn

OUTSIDE = "O"
BMES_LETTERS = str.maketrans("MW", "IS")  # BMES and BMEWO -> BIOES
BMES_PREFIXED = re.compile(r"([BMESW])[-_:](.+)", re.DOTALL)
BMES_SUFFIXED = re.compile(r"(.+)[-_:]([BMESW])", re.DOTALL)
PREFIXED = re.compile(r"([BIESLU])[-_:](.+)", re.DOTALL)
SUFFIXED = re.compile(r"(.+)[-_:]([BIESLU])", re.DOTALL)
BARE = re.compile(r"([BIESLU])")
BEGIN, END = frozenset("BSU"), frozenset("ESLU")  # letters that begin a span, letters that end one
FOR_NOTHING = (
    "",
    "_",
    "-",
    "--",
    "*",
    "0",
    "none",
    "null",
    "nan",
    "na",
    "n/a",
    "other",
    "out",
    "outside",
    "nil",
    "false",
)
NAMELESS = "_"  # type of a bare `B`, as seqeval calls it


class StrangeTagsError(DataError):
    """Tags that spell no spans among those that do; `by_tag` has the problem of each."""

    def __init__(self, by_tag: Mapping[str, Problem]) -> None:
        self.by_tag = dict(by_tag)
        super().__init__(*by_tag.values())


class TagScheme(StrEnum):
    """How tags spell spans; POS means that they do not."""

    IOB1 = "IOB1"
    IOB2 = "IOB2"
    BIOE = "BIOE"
    BIOES = "BIOES"
    BILOU = "BILOU"
    IO = "IO"
    POS = "POS"


LETTERS = {
    TagScheme.IOB1: "IBO",
    TagScheme.IOB2: "BIO",
    TagScheme.BIOE: "BIOE",
    TagScheme.BIOES: "BIOES",
    TagScheme.BILOU: "BILOU",
    TagScheme.IO: "IO",
}
SINGLE_AND_LAST = {TagScheme.BIOE: ("B", "E"), TagScheme.BIOES: ("S", "E"), TagScheme.BILOU: ("U", "L")}

Span = tuple[str, int, int]  # type, first word, word after the last


def split_tag(tag: str) -> tuple[str, str]:
    """Letter and type of a canonical tag: `("B", "PER")`; `("O", "")` outside.

    >>> split_tag("B-creative-work")
    ('B', 'creative-work')
    """
    return (OUTSIDE, "") if tag == OUTSIDE else (tag[0], tag[2:])


def canonical_spellings(tags: Iterable[str]) -> dict[str, str]:
    """Canonical spelling of every distinct tag: `B_PER`, `B:PER` and `PER-B` become `B-PER`, a bare `B` becomes `B-_`.

    Where `o` and tags like `b-per` are used, their letters are raised. Tags that spell no spans (parts of speech) stay as
    they are.

    Raises
    ------
    StrangeTagsError
        Most tags spell spans but some do not: scored as spans they would be lost, scored as words the others would.
    """
    distinct = dict.fromkeys(tags)
    raised = {tag: raise_letter(tag) for tag in distinct}
    if distinct.keys() != set(raised.values()) and are_span_tags(distinct):
        spelt = canonical_spellings(raised.values())
        return {tag: spelt[raised[tag]] for tag in distinct}
    inside = [tag for tag in distinct if tag != OUTSIDE]
    in_bmes = _read_bmes(inside)
    if in_bmes is not None:
        return {tag: in_bmes.get(tag, tag) for tag in distinct}
    readings = [_read_all(inside, read) for read in (_read_prefixed, _read_suffixed, _read_bare)]
    best = max(readings, key=len)  # the first of equals: `B-PER-E` is PER-E with a prefix
    begun = OUTSIDE in distinct and any(tag.startswith("B-") for tag in readings[0].values())
    if (len(best) * 2 < len(inside) and not begun) or (best is readings[2] and OUTSIDE not in distinct):
        return {tag: tag for tag in distinct}
    strange = [tag for tag in inside if tag not in best]
    if strange:
        raise StrangeTagsError({tag: _strange_tag(tag, next(iter(best))) for tag in strange})
    return {tag: best.get(tag, tag) for tag in distinct}


def _read_bmes(tags: Sequence[str]) -> dict[str, str] | None:
    """Tags of BMES or BMEWO in the letters of BIOES; None where they are none: a begin, an end, and `M` or `W` beside."""
    for form, letter, name in ((BMES_PREFIXED, 1, 2), (BMES_SUFFIXED, 2, 1)):
        matches = {tag: form.fullmatch(tag) for tag in tags}
        letters = {match[letter] for match in matches.values() if match}
        if tags and all(matches.values()) and {"B", "E"} <= letters and letters & {"M", "W"}:
            return {
                tag: f"{match[letter].translate(BMES_LETTERS)}-{match[name]}" for tag, match in matches.items() if match
            }
    return None


def is_end_marked(tags: Iterable[str]) -> bool:
    """Whether canonically spelt tags are IOE1 or IOE2: ends are marked, and neither begins nor single words are."""
    names = list(tags)
    letters = {split_tag(tag)[0] for tag in names if PREFIXED.fullmatch(tag)}
    return letters <= {"I", "E"} and "E" in letters and all(tag == OUTSIDE or PREFIXED.fullmatch(tag) for tag in names)


def read_end_marked(tags: Sequence[str]) -> list[str]:
    """IOE1 or IOE2 as IOB2 with the same spans: an `E-` ends a span, as does a change of type.

    In IOE1 only a span that another of its type follows ends in `E-`; the rule serves both.

    >>> read_end_marked(["I-PER", "E-PER", "E-LOC", "O"])
    ['B-PER', 'I-PER', 'B-LOC', 'O']
    """
    written, open_type = [], ""
    for tag in tags:
        letter, kind = split_tag(tag)
        written.append(tag if not kind else f"{'I' if kind == open_type else 'B'}-{kind}")
        open_type = "" if letter == "E" else kind
    return written


def _read_all(tags: Iterable[str], read: Callable[[str], str | None]) -> dict[str, str]:
    spellings = {tag: read(tag) for tag in tags}
    return {tag: spelling for tag, spelling in spellings.items() if spelling}


def _read_prefixed(tag: str) -> str | None:
    match = PREFIXED.fullmatch(tag)
    return f"{match[1]}-{match[2]}" if match else None


def _read_suffixed(tag: str) -> str | None:
    match = SUFFIXED.fullmatch(tag)
    return f"{match[2]}-{match[1]}" if match else None


def _read_bare(tag: str) -> str | None:
    return f"{tag}-{NAMELESS}" if BARE.fullmatch(tag) else None


def _strange_tag(tag: str, example: str) -> Problem:
    found = f"the tag {tag!r} has no letter that says where a span begins, while most others do (as {example!r})"
    if tag.strip().lower() in FOR_NOTHING:
        return Problem(
            found, f"words outside of every span have the tag {OUTSIDE!r}", f"write {OUTSIDE} if it means that"
        )
    return Problem(
        found,
        f"span tags are {OUTSIDE!r} or a letter with a type, as in 'B-{tag}' and 'I-{tag}'",
        "correct the tag, or choose the column with the right tags",
    )


def detect_scheme(tags: TagColumn) -> TagScheme:
    """The scheme of canonically spelt tags, from their letters and from how spans begin.

    `I-` alone cannot tell a badly formed IOB2 from IOB1; the more frequent way to begin a span decides.
    """
    if not all(tag == OUTSIDE or (PREFIXED.fullmatch(tag) and tag[1] == "-") for tag in tags.names):
        return TagScheme.POS
    letters = {split_tag(tag)[0] for tag in tags.names} - {OUTSIDE}
    if letters & set("LU"):
        return TagScheme.BILOU
    if "S" in letters:
        return TagScheme.BIOES
    if "E" in letters:
        return TagScheme.BIOE
    if letters == {"I"}:
        return TagScheme.IO
    if "I" not in letters:
        return TagScheme.IOB2
    begins = _count_begins(tags)
    return TagScheme.IOB1 if begins["I"] > begins["B"] else TagScheme.IOB2


def _count_begins(tags: TagColumn) -> Counter[str]:
    """How often a span that does not touch another of its type begins with `B-`, and how often with `I-`."""
    parts = [split_tag(tag) for tag in tags.names]
    numbers = {kind: number for number, kind in enumerate(dict.fromkeys(["", *(kind for _, kind in parts)]))}
    kinds = np.array([numbers[kind] for _, kind in parts], dtype=np.int64)[tags.ids]  # (words,), 0 outside
    before = np.concatenate([[0], kinds[:-1]]) if len(kinds) else kinds
    before[tags.offsets[:-1][np.diff(tags.offsets) > 0]] = 0
    begins = np.bincount(tags.ids[(kinds > 0) & (kinds != before)], minlength=len(parts))
    counts: Counter[str] = Counter()
    for (letter, _), count in zip(parts, begins.tolist(), strict=True):
        counts[letter] += count
    return counts


def read_spans(tags: Sequence[str]) -> list[Span]:
    """Spans of one sequence in any scheme, read leniently: as conlleval does and seqeval by default.

    A span begins at a `B-`, `S-` or `U-`, and wherever an inner tag has nothing of its type before it; it ends at an
    `E-`, `L-`, `S-` or `U-`, or where its type ends.
    """
    spans: list[Span] = []
    start, open_type = 0, ""
    for position, tag in enumerate(chain(tags, [OUTSIDE])):
        letter, kind = split_tag(tag)
        if open_type and (kind != open_type or letter in BEGIN):
            spans.append((open_type, start, position))
            open_type = ""
        if kind and not open_type:
            start, open_type = position, kind
        if open_type and letter in END:
            spans.append((open_type, start, position + 1))
            open_type = ""
    return spans


def write_spans(spans: Iterable[Span], length: int, scheme: TagScheme) -> list[str]:
    """Tags (length,) of spans that do not overlap, well formed in `scheme`."""
    tags = [OUTSIDE] * length
    before: Span = ("", -1, -1)
    for span in sorted(spans, key=lambda span: span[1]):
        kind, start, end = span
        touches = before[0] == kind and before[2] == start
        letters = _span_letters(end - start, scheme, touches)
        tags[start:end] = [f"{letter}-{kind}" for letter in letters]
        before = span
    return tags


def _span_letters(length: int, scheme: TagScheme, touches: bool) -> str:
    if scheme is TagScheme.IO or (scheme is TagScheme.IOB1 and not touches):
        return "I" * length
    single, end = SINGLE_AND_LAST.get(scheme, ("B", "I"))
    return single if length == 1 else "B" + "I" * (length - 2) + end


def repair_tags(tags: Sequence[str], scheme: TagScheme) -> list[str]:
    """The well formed sequence with the same spans, read leniently; a well formed one is returned as it is."""
    if scheme is TagScheme.POS:
        return list(tags)
    return write_spans(read_spans(tags), len(tags), scheme)


def legal_begins(scheme: TagScheme) -> str:
    """Letters that may begin a span which touches no other of its type."""
    return {TagScheme.IOB1: "IB", TagScheme.IO: "I", TagScheme.BIOES: "BS", TagScheme.BILOU: "BU"}.get(scheme, "B")


class Transitions:
    """Which label may begin a sequence, follow another, and end it, in a scheme.

    `start` (labels,), `pairs` (labels before, labels after), `end` (labels,): boolean.
    """

    def __init__(self, label_list: Sequence[str], scheme: TagScheme) -> None:
        parts = [(OUTSIDE, "") if scheme is TagScheme.POS else split_tag(label) for label in label_list]
        border = (OUTSIDE, "")
        self.start = np.array([_follows(border, after, scheme) for after in parts], dtype=bool)
        self.end = np.array([_follows(before, border, scheme) for before in parts], dtype=bool)
        self.pairs = np.array([[_follows(before, after, scheme) for after in parts] for before in parts], dtype=bool)


def _follows(before: tuple[str, str], after: tuple[str, str], scheme: TagScheme) -> bool:
    """Whether a tag may directly follow another; outside stands for the borders of a sequence too."""
    (letter_before, kind_before), (letter, kind) = before, after
    is_open = letter_before in ("B", "I")
    continues = letter in ("I", "E", "L") and is_open and kind == kind_before
    if scheme in (TagScheme.POS, TagScheme.IO):
        return True
    if scheme is TagScheme.IOB1:
        return letter != "B" or (is_open and kind == kind_before)
    if letter in ("I", "E", "L"):
        return continues
    if scheme is TagScheme.IOB2:
        return True
    must_go_on = letter_before == "I" if scheme is TagScheme.BIOE else is_open
    return not must_go_on


def count_ill_formed(tags: TagColumn, scheme: TagScheme) -> int:
    """Places where a tag may not follow the one before it, or may not begin or end its sequence."""
    if not tags.names:
        return 0
    ends = tags.offsets[1:][np.diff(tags.offsets) > 0]
    return count_illegal(tags.ids, ends, Transitions(tags.names, scheme))


def count_illegal(ids: npt.NDArray[np.integer], ends: npt.NDArray[np.integer], transitions: Transitions) -> int:
    """Illegal places among the label ids (words,) of sequences that end before the words `ends` (sequences,)."""
    is_inner = np.ones(len(ids), dtype=bool)
    is_inner[np.concatenate([[0], ends[:-1]])] = False
    starts, inner = ids[~is_inner], np.flatnonzero(is_inner)
    illegal = [
        ~transitions.start[starts],
        ~transitions.pairs[ids[inner - 1], ids[inner]],
        ~transitions.end[ids[ends - 1]],
    ]
    return int(sum(part.sum() for part in illegal))
