"""A chunk of raw text -> the subwords of its lines, with the borders of documents: what one worker does."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.data.documents import Boundary
from finetune.data.text import TextChunk, explain_unreadable
from finetune.encoding.subwords import SubwordEncoder
from finetune.run.engines import Keeping
from finetune.run.workers import map_in_order

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LineRules:
    """How lines become texts: stripped, and empty ones only part documents. `space_token` replaces every space."""

    lowercase: bool = False
    space_token: str | None = None
    boundary: Boundary = Boundary.BLANK_LINE

    def clean_line(self, line: str) -> str:
        """The text of a line as the tokenizer gets it."""
        line = line.strip()
        line = line.lower() if self.lowercase else line
        return line.replace(" ", self.space_token) if self.space_token else line


@dataclass(frozen=True)
class EncodedLines:
    """Lines that have subwords, in order; `begins_document` says of each whether a document begins there.

    `border_waits`: a document border lies behind the last of them. `lines_read` counts lines with text,
    `without_subwords` those of them that the tokenizer gives nothing, `control_texts` those that spell a control token,
    `own_starts` those that brought their own begin-of-text token; `places` are the numbers of the lines with subwords
    among them.
    """

    ids: npt.NDArray[np.unsignedinteger]  # (subwords,)
    lengths: npt.NDArray[np.int32]  # (lines,)
    begins_document: npt.NDArray[np.bool_]  # (lines,)
    word_starts: npt.NDArray[np.bool_] | None = None  # (subwords,)
    places: npt.NDArray[np.int64] | None = None  # (lines,)
    border_waits: bool = False
    lines_read: int = 0
    without_subwords: int = 0
    control_texts: int = 0
    own_starts: int = 0
    bytes_read: int = 0
    is_readable: bool = True


@dataclass(frozen=True)
class LineEncoder:
    """The work of one process: chunk -> `EncodedLines`."""

    subwords: SubwordEncoder
    rules: LineRules = field(default_factory=LineRules)

    def __call__(self, chunk: TextChunk) -> EncodedLines:
        try:
            lines = chunk.lines()
        except UnicodeDecodeError:
            return replace(_nothing(self.subwords), is_readable=False)
        is_blank = np.fromiter((not line or line.isspace() for line in lines), bool, len(lines))
        kept = np.flatnonzero(~is_blank)
        subwords = self.subwords.encode([self.rules.clean_line(lines[index]) for index in kept])
        has_subwords = subwords.lengths > 0
        begins = self._find_borders(is_blank, chunk)
        begins_document, border_waits = move_borders(begins, kept[has_subwords])
        return EncodedLines(
            ids=subwords.ids,
            lengths=subwords.lengths[has_subwords],
            begins_document=begins_document,
            word_starts=subwords.word_starts,
            places=np.flatnonzero(has_subwords),
            border_waits=border_waits or bool(is_blank[-1] and self.rules.boundary == Boundary.BLANK_LINE),
            lines_read=len(kept),
            without_subwords=int((~has_subwords).sum()),
            control_texts=subwords.control_texts,
            bytes_read=len(chunk.data),
        )

    def _find_borders(self, is_blank: npt.NDArray[np.bool_], chunk: TextChunk) -> npt.NDArray[np.bool_]:
        """For each line, blank ones included, whether a document begins there."""
        begins = np.zeros(len(is_blank), dtype=bool)
        if self.rules.boundary == Boundary.LINE:
            begins[:] = ~is_blank
        elif self.rules.boundary == Boundary.BLANK_LINE:
            begins[1:] = is_blank[:-1] & ~is_blank[1:]
        begins[0] = chunk.starts_file or (begins[0] and not chunk.continues)
        return begins


def move_borders(begins: npt.NDArray[np.bool_], kept: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.bool_], bool]:
    """Borders of the kept lines, each moved on from dropped lines; and whether one lies behind the last of them."""
    borders = np.concatenate([[0], np.cumsum(begins)])  # borders before each line, and at the end
    up_to = borders[kept + 1]
    return np.diff(up_to, prepend=0) > 0, bool(borders[-1] > (up_to[-1] if len(kept) else 0))


def _nothing(subwords: SubwordEncoder) -> EncodedLines:
    empty = subwords.encode([])
    return EncodedLines(empty.ids, empty.lengths, np.empty(0, dtype=bool), empty.word_starts)


def encode_lines(
    chunks: Iterable[TextChunk],
    encoder: LineEncoder,
    *,
    paths: Sequence[Path],
    workers: int,
    border_waits: bool = False,
    keeping: Keeping | None = None,
) -> Iterator[EncodedLines]:
    """Encode chunks in order; a document border that falls between two chunks is put on the first line of the second.

    `border_waits`: such a border lies in front of the first chunk. `keeping`: as in `map_in_order`.

    Raises:
        DataError: text that is not UTF-8, with the place in each of `paths` that has any.
    """
    batches = map_in_order(encoder, chunks, workers=workers, keeping=keeping)
    for encoded in carry_borders(batches, border_waits=border_waits):
        if not encoded.is_readable:
            explain_unreadable(paths)
        yield encoded


def carry_borders(batches: Iterable[EncodedLines], *, border_waits: bool = False) -> Iterator[EncodedLines]:
    """A document border that falls between two batches is put on the first line of the second."""
    for encoded in batches:
        if border_waits and len(encoded.lengths):
            encoded.begins_document[0] = True
        border_waits = encoded.border_waits or (border_waits and not len(encoded.lengths))
        yield encoded


def count_lines(lines: EncodedLines) -> dict[str, int]:
    """What a stage of encoding adds up over all batches, under the names that `tell_lines` reads."""
    return {
        "bytes": lines.bytes_read,
        "lines_without_pieces": lines.without_subwords,
        "lines_with_control_tokens": lines.control_texts,
        "texts": lines.lines_read,
        "texts_with_own_start": lines.own_starts,
    }


def tell_lines(counts: Mapping[str, int], unit: str = "lines") -> None:
    """Say what became of lines (or other texts) that are not encoded as the rest is; nothing where there are none."""
    if counts.get("lines_without_pieces"):
        logger.warning(f"{counts['lines_without_pieces']:,} {unit} gave no subwords at all and were left out.")
    if counts.get("lines_with_control_tokens"):
        spelled = (
            f"{counts['lines_with_control_tokens']:,} {unit} spell a control token of the tokenizer (as </s> or [SEP])"
        )
        logger.warning(f"{spelled}; it is encoded as the text that it is.")
    if counts.get("texts_with_own_start"):
        count = f"{counts['texts_with_own_start']:,}"
        logger.info("%s %s brought a begin-of-text token of their own; none has a second one.", count, unit)
