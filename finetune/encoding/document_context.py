"""Windows of sentences -> the same windows with words of their neighbours around them, never beyond a document.

The words around a window are read by the model and are nobody's to label: they are those that stand before and behind it in
its document (FLERT, Schweter and Akbik, 2020, https://arxiv.org/abs/2011.06993), apart from it by the tokenizer's own token
for that, as in flair. Words are numbered through the whole split.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from finetune.encoding.ragged import offsets_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Integers = npt.NDArray[np.integer]
MOST_SEPARATORS = 2  # of a window: before its sentence and behind it


@dataclass(frozen=True)
class DocumentContext:
    """What of its document is read around a sentence.

    `size` subwords on each side at most, 0 for none; `separator` is the id of the token between a sentence and its
    neighbours, None for none.
    """

    size: int = 0
    separator: int | None = None

    def __bool__(self) -> bool:
        return self.size > 0


ALONE = DocumentContext()


def choose_context(size: int, *, separated: bool, tokenizer: PreTrainedTokenizerBase) -> DocumentContext:
    """`size` subwords of context, apart from the sentence by the tokenizer's separator, else by its end of a text.

    A tokenizer that has neither is told of.
    """
    if not size or not separated:
        return DocumentContext(size)
    known = (tokenizer.sep_token_id, tokenizer.eos_token_id)
    separator = next((index for index in known if index is not None), None)
    if separator is None:
        logger.warning(
            "The tokenizer has no token that separates, so nothing stands between a sentence and its neighbours."
        )
    return DocumentContext(size, separator)


def number_documents(keys: Sequence[Hashable]) -> list[int]:
    """The document of each sentence, numbered from 0: sentences one after another with the same key share one.

    A key of None is a document of its own.

    >>> number_documents(["a", "a", "b", None, None, "a"])
    [0, 0, 1, 2, 3, 4]
    """
    numbers: list[int] = []
    for place, key in enumerate(keys):
        goes_on = place > 0 and key is not None and key == keys[place - 1]
        numbers.append((numbers[-1] if numbers else -1) + (not goes_on))
    return numbers


def documents_between(lines: Sequence[int], marks: Sequence[int]) -> list[int] | None:
    """The document of each sentence by the line it begins at, where a document begins at each of the lines `marks`.

    None where there is no mark.

    >>> documents_between([1, 5, 9], [4])
    [0, 1, 1]
    """
    return np.searchsorted(np.asarray(marks), np.asarray(lines), side="right").tolist() if len(marks) else None


def document_borders(
    documents: Integers, sentence_offsets: Integers
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The first word of each sentence's document and the word behind its last one, two arrays (sentences,).

    Parameters
    ----------
    documents
        The document of each sentence, (sentences,); neighbours with the same number share one.
    sentence_offsets
        Where sentences begin, in words, (sentences + 1,).
    """
    documents, offsets = np.asarray(documents), np.asarray(sentence_offsets, dtype=np.int64)
    begins = np.ones(len(documents), dtype=bool)
    begins[1:] = documents[1:] != documents[:-1]
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], len(documents))[: len(starts)]
    number = np.cumsum(begins) - 1
    return offsets[starts][number], offsets[ends][number]


def surround_windows(
    first: Integers,
    last: Integers,
    borders: tuple[Integers, Integers],
    word_lengths: Integers,
    *,
    capacity: int,
    context: DocumentContext,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Windows with up to `context.size` subwords more on each side, in whole words, as far as document and room allow.

    Both sides share the room that a window leaves; what one side cannot use, the other may. Where there is a separator
    there is room left for two.

    Parameters
    ----------
    first, last
        Window i holds the words `first[i]` to `last[i] - 1`, at most `capacity` subwords; (windows,).
    borders
        The first word of each window's document and the word behind its last one, two arrays (windows,).
    word_lengths
        Subwords of each word, (words,), at least 1; a word counts as at most `capacity`.
    capacity
        Subwords in a window, special tokens not counted.
    context
        What each side gets at most.
    """
    before = offsets_of(np.minimum(word_lengths, capacity))  # subwords before each word
    start, end = before[first], before[last]
    separators = 0 if context.separator is None else MOST_SEPARATORS
    room = np.maximum(capacity - (end - start) - separators, 0)
    left = start - np.maximum(start - context.size, before[borders[0]])
    right = np.minimum(end + context.size, before[borders[1]]) - end
    left = np.minimum(left, np.maximum(room // 2, room - right))
    wide_first = np.searchsorted(before, start - left, side="left")
    room -= start - before[wide_first]
    wide_last = np.searchsorted(before, end + np.minimum(right, room), side="right") - 1
    return wide_first, wide_last
