"""Documents -> subwords of the text as it stands: each is tokenized whole, or line by line where that is asked for.

A document too long to be tokenized in one go is cut where its ids are those of the uncut text. Which places these are
hangs on the tokenizer (line ends and spaces merge with what surrounds them, SentencePiece puts a space in front of every
text), so each is tried out: the text around it must give the same ids in one piece and in two. Where no place does, the
document stays whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from finetune.data.documents import Boundary, DocumentPart, read_documents
from finetune.encoding.lines import EncodedLines, carry_borders, move_borders
from finetune.encoding.ragged import offsets_of, ranges
from finetune.encoding.special_tokens import find_special_tokens, find_start_names, find_start_token, strip_start
from finetune.encoding.subwords import SubwordEncoder, Subwords
from finetune.errors import DataError, Problem
from finetune.run.engines import Keeping, Reread
from finetune.run.workers import map_in_order

PIECE = 1 << 17  # characters of a document that are tokenized at a time
BATCH = 1 << 19  # characters that one worker gets
WINDOW = 256  # characters on either side of a cut that must give the same ids with it and without
SHIFTS = (0, 1, 3)  # the window is moved by these, so that no run of equal characters fits by chance
REACH = 4096  # behind PIECE, where places to cut are looked for
TRIES = 48
LEADS = (0, 1, 8)  # characters read in front of a piece that goes on, and left out again
WORD_ENDS = re.compile(r"(?<=\S)\s|(?<=\n)\S")


class TextUnit(StrEnum):
    """What is tokenized by itself."""

    DOCUMENT = "document"
    LINE = "line"


@dataclass(frozen=True)
class DocumentRules:
    """How documents become texts of a tokenizer, and what stands around each.

    `begin`, `end`: whether the begin-of-text and end-of-text token do; None: as the tokenizer has it; neither where
    texts are `in_blocks` that have special tokens of their own. Of lines, `keep_line_ends`: without, they are stripped and
    empty ones left out; `around_documents`: the tokens stand around documents, not lines. `space_token` replaces every
    space.
    """

    unit: TextUnit = TextUnit.DOCUMENT
    boundary: Boundary = Boundary.FILE
    keep_line_ends: bool = True
    lowercase: bool = False
    space_token: str | None = None
    begin: bool | None = None
    end: bool | None = None
    in_blocks: bool = False
    around_documents: bool = False

    def clean(self, text: str) -> str:
        """The text as the tokenizer gets it."""
        text = text.lower() if self.lowercase else text
        return text.replace(" ", self.space_token) if self.space_token else text


@dataclass(frozen=True)
class TextEnds:
    """Ids before and after each text; `own_start` are those of a text that spells its beginning, as one of `names`."""

    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    own_start: tuple[int, ...] = ()
    names: tuple[str, ...] = ()


def find_text_ends(tokenizer: PreTrainedTokenizerBase, rules: DocumentRules) -> TextEnds:
    """What is put around each text: as asked, else what the tokenizer puts there.

    Raises:
        DataError: a token is asked for that the tokenizer does not have.
    """
    habit, start = find_special_tokens(tokenizer), find_start_token(tokenizer)
    prefix, suffix = tuple(habit.prefix.tolist()), tuple(habit.suffix.tolist())
    names = find_start_names(tokenizer)
    if rules.in_blocks:
        return TextEnds(own_start=() if prefix or start is None else (start,), names=names)
    firsts, lasts = (tokenizer.bos_token_id, tokenizer.cls_token_id), (tokenizer.eos_token_id, tokenizer.sep_token_id)
    before = _as_asked(rules.begin, prefix, firsts, "--add_bos_token", tokenizer)
    after = _as_asked(rules.end, suffix, lasts, "--add_eos_token", tokenizer)
    return TextEnds(before, after, before or prefix or (() if start is None else (start,)), names)


def _as_asked(
    asked: bool | None,
    habit: tuple[int, ...],
    known: Sequence[int | None],
    flag: str,
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[int, ...]:
    if asked is None or (asked and habit):
        return habit
    if not asked:
        return ()
    token = next((index for index in known if index is not None), None)
    if token is None:
        kind = "begin-of-text" if flag == "--add_bos_token" else "end-of-text"
        found = f"the tokenizer {type(tokenizer).__name__} has no {kind} token"
        raise DataError(Problem(found, f"{flag} puts one around each text", "add one to its tokenizer_config.json"))
    return (token,)


@dataclass(frozen=True)
class Piece:
    """A text, or a part of a long one.

    The first `lead` characters are there to be read with it; their ids are left out. `begins`, `ends`: whether the text
    does.
    """

    text: str
    begins_document: bool
    begins: bool = True
    ends: bool = True
    lead: int = 0


class TextCutter:
    """Finds places where a text can be cut: there the ids of the two parts are those of the whole."""

    def __init__(self, subwords: SubwordEncoder, *, piece: int = PIECE) -> None:
        self.subwords, self.piece = subwords, piece

    def find_cut(self, text: str, start: int) -> tuple[int, int] | None:
        """A place at or behind `start` and how many characters before it the second part must be read with."""
        ends = range(start, start + REACH)
        spaced = (match.start() for match in WORD_ENDS.finditer(text, start, start + REACH))
        for place in islice(chain(spaced, ends), TRIES):
            lead = self._lead_at(text, place)
            if lead is not None:
                return place, lead
        return None

    def _lead_at(self, text: str, place: int) -> int | None:
        """How many characters the part behind `place` must be read with; None: it cannot be cut off there."""
        after = text[place : place + WINDOW]
        befores = [text[max(place - WINDOW + shift, 0) : place] for shift in SHIFTS]
        rests = [self._rest_behind(before, after) for before in befores]
        if rests[0] is None or any(rest != rests[0] for rest in rests):
            return None
        rest = rests[0]
        fits = (lead for lead in LEADS if lead <= place and self._goes_on(text[place - lead : place], after, rest))
        return next(fits, None)

    def _rest_behind(self, before: str, after: str) -> list[int] | None:
        """The ids behind those of `before`, if nothing of what follows changes these."""
        whole, left = self._encode(before + after), self._encode(before)
        return whole[len(left) :] if whole[: len(left)] == left else None

    def _goes_on(self, lead: str, after: str, rest: list[int]) -> bool:
        known = self._encode(lead) if lead else []
        return self._encode(lead + after) == known + rest

    def _encode(self, text: str) -> list[int]:
        return [int(index) for index in self.subwords.encode([text]).ids]


def cut_documents(parts: Iterable[DocumentPart], rules: DocumentRules, cutter: TextCutter) -> Iterator[Piece]:
    """The texts of all documents, long ones in pieces."""
    if rules.unit is TextUnit.LINE:
        yield from _cut_lines(parts, rules)
        return
    waiting: _Waiting | None = None
    for part in parts:
        if part.begins or waiting is None:
            yield from waiting.finish() if waiting else ()
            waiting = _Waiting(cutter)
        yield from waiting.add(rules.clean(part.text))
    yield from waiting.finish() if waiting else ()


class _Waiting:
    """The text of a document that is not cut yet."""

    def __init__(self, cutter: TextCutter) -> None:
        self.cutter = cutter
        self.text, self.lead, self.has_begun = "", 0, False
        self.next_try = cutter.piece

    def add(self, text: str) -> Iterator[Piece]:
        self.text += text
        while len(self.text) > self.next_try + REACH + WINDOW:
            found = self.cutter.find_cut(self.text, self.next_try)
            if found is None:
                self.next_try += self.cutter.piece
                continue
            yield self._take(*found)

    def _take(self, place: int, lead: int) -> Piece:
        piece = self._piece(self.text[:place], ends=False)
        self.text, self.lead, self.has_begun = self.text[place - lead :], lead, True
        self.next_try = self.cutter.piece
        return piece

    def finish(self) -> Iterator[Piece]:
        yield self._piece(self.text, ends=True)

    def _piece(self, text: str, *, ends: bool) -> Piece:
        return Piece(text, not self.has_begun, not self.has_begun, ends, self.lead)


def _cut_lines(parts: Iterable[DocumentPart], rules: DocumentRules) -> Iterator[Piece]:
    """Each line by itself; a line is held back until it is known whether its document ends there."""
    each = not rules.around_documents
    held: Piece | None = None
    for line, begins in _lines_with_text(parts, rules):
        if held is not None:
            yield replace(held, ends=each or begins)
        held = Piece(rules.clean(line), begins, each or begins)
    if held is not None:
        yield held


def _lines_with_text(parts: Iterable[DocumentPart], rules: DocumentRules) -> Iterator[tuple[str, bool]]:
    """The lines that count, and whether a document begins there, or began in an empty line before."""
    begins = False
    for line, starts in _lines_of(parts):
        begins = begins or starts
        line = line if rules.keep_line_ends else line.strip()
        if line:
            yield line, begins
            begins = False


def _lines_of(parts: Iterable[DocumentPart]) -> Iterator[tuple[str, bool]]:
    rest, begins = "", True
    for part in parts:
        if part.begins:
            yield from [(rest, begins)] if rest else []
            rest, begins = "", True
        *lines, rest = (rest + part.text).split("\n")
        for line in lines:
            yield line + "\n", begins
            begins = False
    yield from [(rest, begins)] if rest else []


def batch_pieces(pieces: Iterable[Piece], *, size: int = BATCH) -> Iterator[list[Piece]]:
    """The pieces in batches of about `size` characters."""
    waiting: list[Piece] = []
    characters = 0
    for piece in pieces:
        waiting.append(piece)
        characters += len(piece.text)
        if characters >= size:
            yield waiting
            waiting, characters = [], 0
    if waiting:
        yield waiting


@dataclass(frozen=True)
class PieceEncoder:
    """The work of one process: pieces -> `EncodedLines`, one row for each that has ids."""

    subwords: SubwordEncoder
    ends: TextEnds = TextEnds()

    def __call__(self, pieces: Sequence[Piece]) -> EncodedLines:
        texts, spelled = strip_start([piece.text if piece.begins else "" for piece in pieces], self.ends.names)
        texts = [text if piece.begins else piece.text for piece, text in zip(pieces, texts, strict=True)]
        bodies = self._without_leads(self.subwords.encode(texts), [piece.lead for piece in pieces], texts)
        before, after = self._around(pieces, spelled, bodies.lengths == 0)
        subwords = _surround(bodies, before, after)
        kept = np.flatnonzero(subwords.lengths > 0)
        begins, border_waits = move_borders(np.array([piece.begins_document for piece in pieces], dtype=bool), kept)
        return EncodedLines(
            ids=subwords.ids,
            lengths=subwords.lengths[kept],
            begins_document=begins,
            word_starts=subwords.word_starts,
            places=kept,
            border_waits=border_waits,
            lines_read=sum(piece.ends for piece in pieces),
            without_subwords=int((subwords.lengths == 0).sum()),
            control_texts=bodies.control_texts,
            own_starts=int(spelled.sum()),
            bytes_read=sum(len(piece.text.encode("utf-8", "replace")) for piece in pieces),
        )

    def _around(
        self, pieces: Sequence[Piece], spelled: npt.NDArray[np.bool_], empty: npt.NDArray[np.bool_]
    ) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Ids before and after each piece; none around a text without subwords."""
        before: list[tuple[int, ...]] = [()] * len(pieces)
        after = list(before)
        for number, piece in enumerate(pieces):
            if empty[number] and piece.begins and piece.ends:
                continue
            if piece.begins:
                before[number] = self.ends.own_start if spelled[number] else self.ends.prefix
            after[number] = self.ends.suffix if piece.ends else ()
        return before, after

    def _without_leads(self, subwords: Subwords, leads: Sequence[int], texts: Sequence[str]) -> Subwords:
        """Without the ids of what was read in front of pieces that go on."""
        led = [index for index, lead in enumerate(leads) if lead]
        if not led:
            return subwords
        dropped = np.zeros(len(texts), dtype=np.int64)
        dropped[led] = self.subwords.encode([texts[index][: leads[index]] for index in led]).lengths
        lengths = subwords.lengths - dropped
        places = ranges(offsets_of(subwords.lengths)[:-1] + dropped, lengths)
        starts = subwords.word_starts
        return replace(
            subwords,
            ids=subwords.ids[places],
            lengths=lengths.astype(np.int32),
            word_starts=None if starts is None else starts[places],
        )


def _surround(subwords: Subwords, before: Sequence[tuple[int, ...]], after: Sequence[tuple[int, ...]]) -> Subwords:
    """Each row between its own ids before and after; a word begins at each of these."""
    front, back = np.array(list(map(len, before)), np.int64), np.array(list(map(len, after)), np.int64)
    lengths = front + subwords.lengths + back
    starts = offsets_of(lengths)[:-1]
    ids = np.empty(int(lengths.sum()), dtype=subwords.ids.dtype)
    words = np.ones(len(ids), dtype=bool)
    body = ranges(starts + front, subwords.lengths)
    ids[body] = subwords.ids
    ids[ranges(starts, front)] = list(chain.from_iterable(before))
    ids[ranges(starts + front + subwords.lengths, back)] = list(chain.from_iterable(after))
    if subwords.word_starts is not None:
        words[body] = subwords.word_starts
    known = None if subwords.word_starts is None else words
    return replace(subwords, ids=ids, lengths=lengths.astype(np.int32), word_starts=known)


def encode_documents(
    paths: Sequence[Path],
    subwords: SubwordEncoder,
    tokenizer: PreTrainedTokenizerBase,
    rules: DocumentRules,
    *,
    workers: int,
    column: str = "text",
    piece: int = PIECE,
    keeping: Keeping | None = None,
) -> Iterator[EncodedLines]:
    """The subwords of all documents in order, one row for each text or piece of one; `keeping` as in `map_in_order`.

    Raises:
        DataError: as `read_documents` and `find_text_ends`.
    """
    encoder = PieceEncoder(subwords, find_text_ends(tokenizer, rules))
    batches = Reread(read_batches, (paths, subwords, rules, column, piece), paths)
    yield from carry_borders(map_in_order(encoder, batches, workers=workers, keeping=keeping))


def read_batches(
    paths: Sequence[Path], subwords: SubwordEncoder, rules: DocumentRules, column: str, piece: int
) -> Iterator[list[Piece]]:
    """What each worker gets at a time."""
    parts = read_documents(paths, boundary=rules.boundary, column=column)
    return batch_pieces(cut_documents(parts, rules, TextCutter(subwords, piece=piece)))
