"""Texts -> the rows that a language model must read to score each of their tokens, and which logits to look at.

A *query* is one place of one row whose logits are read: for the token at its slot, and for whether a word ends there. The
slots of a chunk are its tokens, then one for the end of each text. Long texts become overlapping windows in which every
token is scored once, with at least half a window of context in front of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune.encoding.ragged import offsets_of, ranges

IntArray = npt.NDArray[np.int64]
NO_TARGET = -1


@dataclass(frozen=True)
class ScoringRows:
    """Rows over the flat token ids of a chunk, and the queries of each row.

    Row r reads `prefix`, tokens `starts[r]` to `starts[r] + lengths[r]`, `suffix`; tokens from `mask_starts[r]` to before
    `mask_ends[r]` are masked. Its queries are those from `query_offsets[r]` on.
    """

    texts: IntArray  # (rows,) the text of each row
    starts: IntArray  # (rows,)
    lengths: IntArray  # (rows,)
    mask_starts: IntArray  # (rows,)
    mask_ends: IntArray  # (rows,)
    query_offsets: IntArray  # (rows + 1,)
    query_positions: IntArray  # (queries,) place in the row, prefix included
    query_targets: IntArray  # (queries,) id that is scored there, NO_TARGET where only the border counts
    query_slots: IntArray  # (queries,)
    prefix: IntArray
    suffix: IntArray

    @property
    def widths(self) -> IntArray:
        """Length (rows,) of each row with what stands around it."""
        return self.lengths + len(self.prefix) + len(self.suffix)

    def read(
        self, rows: IntArray, ids: npt.NDArray[np.integer], *, pad: int, mask: int
    ) -> tuple[IntArray, npt.NDArray[np.bool_]]:
        """Ids (rows, width) of a batch and where they are real, (rows, width)."""
        lengths, widths = self.lengths[rows], self.widths[rows]
        places = np.arange(widths.max())[None, :]
        real = places < widths[:, None]
        offset = len(self.prefix)
        tokens = self.starts[rows][:, None] + places - offset
        body = (places >= offset) & (places < (offset + lengths)[:, None])
        batch = np.full(real.shape, pad, dtype=np.int64)
        batch[body] = ids[tokens[body]]
        batch[body & (tokens >= self.mask_starts[rows][:, None]) & (tokens < self.mask_ends[rows][:, None])] = mask
        batch[:, :offset] = self.prefix
        for number, special in enumerate(self.suffix):
            batch[np.arange(len(rows)), offset + lengths + number] = special
        return batch, real

    def queries_of(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """The queries of a batch: index into this object's queries, and the number of the row within the batch."""
        counts = np.diff(self.query_offsets)[rows]
        return ranges(self.query_offsets[:-1][rows], counts), np.repeat(np.arange(len(rows)), counts)


def plan_left_to_right(
    ids: npt.NDArray[np.integer],
    offsets: IntArray,
    *,
    prefix: npt.ArrayLike,
    width: int | None,
) -> ScoringRows:
    """Rows of a causal model, or of a decoder: every token from those before it, and the border at the end of each text.

    Args:
        ids: (tokens,) of all texts, without special tokens.
        offsets: (texts + 1,).
        prefix: what stands before a text, such as the beginning-of-text token. Without any, the first token of a text
            has no query, because nothing predicts it.
        width: most ids in a row; None: no limit.
    """
    prefix = np.asarray(prefix, dtype=np.int64)
    texts, starts, lengths, first = find_windows(offsets, None if width is None else width - len(prefix))
    if not len(prefix):
        opens = starts == offsets[:-1][texts]
        first = np.maximum(first, np.minimum(starts + opens, starts + lengths))
    last = starts + lengths == offsets[1:][texts]
    has_end = last & (lengths + len(prefix) > 0)
    counts = starts + lengths - first + has_end
    query_row = np.repeat(np.arange(len(texts)), counts)
    token = ranges(first, counts)  # one past the last token of a text is its end
    ends = token == (starts + lengths)[query_row]
    slots = np.where(ends, len(ids) + texts[query_row], token)
    targets = np.where(ends, NO_TARGET, ids[np.minimum(token, max(len(ids) - 1, 0))] if len(ids) else NO_TARGET)
    positions = token - starts[query_row] + len(prefix) - 1
    nothing = np.zeros(len(texts), dtype=np.int64)
    return ScoringRows(
        texts, starts, lengths, nothing, nothing, offsets_of(counts), positions, targets, slots, prefix, _EMPTY
    )


def plan_masked(
    ids: npt.NDArray[np.integer],
    offsets: IntArray,
    *,
    prefix: npt.ArrayLike,
    suffix: npt.ArrayLike,
    width: int | None,
    word_starts: npt.NDArray[np.bool_] | None = None,
) -> ScoringRows:
    """Rows of a masked model: one for each token, in which that token is masked.

    With `word_starts` (tokens,) the later tokens of its word are masked too, so that they do not give a rare word away
    (within-word left-to-right; Kauf & Ivanova 2023, A Better Way to Do Masked Language Model Scoring). Without, it
    alone is (Salazar et al. 2020). A text too long for a row is read in a window around the token.
    """
    prefix, suffix = np.asarray(prefix, dtype=np.int64), np.asarray(suffix, dtype=np.int64)
    token = np.arange(len(ids), dtype=np.int64)
    texts = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    begin, end = offsets[:-1][texts], offsets[1:][texts]
    space = len(ids) if width is None else width - len(prefix) - len(suffix)
    starts = np.clip(token - space // 2, begin, np.maximum(end - space, begin))
    lengths = np.minimum(end - starts, space)
    mask_ends = token + 1 if word_starts is None else _word_ends(word_starts)
    positions = token - starts + len(prefix)
    return ScoringRows(
        texts,
        starts,
        lengths,
        token,
        mask_ends,
        np.arange(len(ids) + 1),
        positions,
        ids.astype(np.int64),
        token,
        prefix,
        suffix,
    )


def plan_given_masks(
    ids: npt.NDArray[np.integer],
    offsets: IntArray,
    targets: npt.NDArray[np.integer],
    *,
    prefix: npt.ArrayLike,
    suffix: npt.ArrayLike,
    width: int | None,
    mask: int,
) -> ScoringRows:
    """Rows of texts that hold masks already; all masks of a text are filled at once.

    Args:
        ids: (tokens,), some of them `mask`.
        offsets: (texts + 1,).
        targets: (tokens,) what stands behind each mask, NO_TARGET where that is not known.
        prefix: ids before each text.
        suffix: ids after each text.
        width: most ids in a row.
        mask: the mask's id.
    """
    prefix, suffix = np.asarray(prefix, dtype=np.int64), np.asarray(suffix, dtype=np.int64)
    texts, starts, lengths, first = find_windows(offsets, None if width is None else width - len(prefix) - len(suffix))
    token = ranges(first, starts + lengths - first)
    row = np.repeat(np.arange(len(texts)), starts + lengths - first)
    asked = np.flatnonzero(ids[token] == mask)
    counts = np.bincount(row[asked], minlength=len(texts))
    token, row = token[asked], row[asked]
    nothing = np.zeros(len(texts), dtype=np.int64)
    positions = token - starts[row] + len(prefix)
    return ScoringRows(
        texts,
        starts,
        lengths,
        nothing,
        nothing,
        offsets_of(counts),
        positions,
        targets[token].astype(np.int64),
        token,
        prefix,
        suffix,
    )


_EMPTY = np.zeros(0, dtype=np.int64)


def find_windows(offsets: IntArray, space: int | None) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Windows of at most `space` tokens over each text: text, start, length, and first token that is scored in it.

    An empty text has one empty window. Each later window begins half a window after the one before it.
    """
    offsets = np.asarray(offsets, dtype=np.int64)
    sizes = np.diff(offsets)
    space = max(int(sizes.max(initial=1)), 1) if space is None else space
    stride = max(space // 2, 1)
    counts = 1 + np.maximum(-(-(sizes - space) // stride), 0)
    texts = np.repeat(np.arange(len(sizes)), counts)
    number = ranges(np.zeros(len(sizes), dtype=np.int64), counts)
    ends = np.minimum(number * stride + space, sizes[texts])
    starts = np.maximum(ends - space, 0)  # the last window is full, too
    first = np.where(number == 0, 0, (number - 1) * stride + space)
    base = offsets[:-1][texts]
    return texts, base + starts, ends - starts, base + first


def _word_ends(word_starts: npt.NDArray[np.bool_]) -> IntArray:
    """One past the last token (tokens,) of the word that each token belongs to."""
    first = np.flatnonzero(word_starts)
    ends = np.append(first[1:], len(word_starts))
    return np.repeat(ends, np.diff(np.append(first, len(word_starts))))
