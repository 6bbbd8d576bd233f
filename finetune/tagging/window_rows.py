"""Words as subwords -> windows of ids as flat arrays: what training and prediction share of encoding, in numpy.

What the columns are is told in tagging/encoding.py.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from finetune.encoding.document_context import ALONE, DocumentContext, document_borders, surround_windows
from finetune.encoding.padding import IGNORED
from finetune.encoding.ragged import offsets_of, ranges, split_rows, take_rows
from finetune.encoding.special_tokens import SpecialTokens, find_special_tokens
from finetune.errors import Problem, UsageError
from finetune.tagging.windows import Windows, count_subwords, own_words, plan_windows, window_words
from finetune.tagging.words import EncodedWords

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

UNKNOWN = -1  # the label id of a tag that the labels lack
Column = tuple[npt.NDArray, npt.NDArray[np.int64]]  # values, and the offsets of rows in them


@dataclass(frozen=True)
class TagIds:
    """Label ids of words (words,), `UNKNOWN` among them, and that of the later subwords of a word by that of its first."""

    ids: npt.NDArray[np.int64]
    later: npt.NDArray[np.int64]  # (labels + 1,)


@dataclass(frozen=True)
class EncodedWindows:
    """Sentences as windows: columns by name, the sentence of each window, and the words of each sentence."""

    columns: dict[str, Column]
    sentence: npt.NDArray[np.int64]  # (windows,)
    sentence_lengths: npt.NDArray[np.int64]  # (sentences,)
    counts: dict[str, int]
    notes: list[str]

    def rows(self) -> list[dict[str, Any]]:
        """What a model is given of each window."""
        return split_rows(
            {name: self.columns[name] for name in ("input_ids", "token_type_ids") if name in self.columns}
        )


def encode_windows(
    words: EncodedWords,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    stride: int = 0,
    tags: TagIds | None = None,
    name: str = "split",
    context: DocumentContext = ALONE,
    documents: npt.NDArray | None = None,
) -> EncodedWindows:
    """Windows of at most `max_length` subwords, special tokens counted; what is unusual is said under `name`.

    With `context`, subwords of neighbouring sentences stand around each window, of the same of `documents` (sentences,);
    they are nobody's to label.

    Raises:
        UsageError: `max_length` leaves no room for a subword, or `stride` is not shorter than a window.
    """
    special = find_special_tokens(tokenizer)
    capacity = check_window(max_length, stride, len(special))
    lengths = np.diff(words.word_offsets)
    windows = plan_windows(lengths, words.sentence_offsets, capacity=capacity, stride=stride)
    owned = own_words(windows, lengths, capacity)
    own_subwords = count_subwords(windows, lengths, capacity)
    read, separators = WordsRead(*window_words(windows), owned), 0
    if context and documents is not None:
        read = _with_context(windows, owned, documents, words, capacity=capacity, context=context)
        separators = int((read.numbers == len(lengths)).sum())
    columns = _columns(_with_separator(words, context), windows, read, tags, capacity, special)
    if "token_type_ids" not in tokenizer.model_input_names:
        del columns["token_type_ids"]
    counts = _counts(words, windows, capacity)
    if context:
        added = len(columns["input_ids"][0]) - own_subwords - len(special) * len(windows)
        counts["context_pieces"] = added - separators
    notes = describe_counts(counts, max_length, name)
    for level, note in notes:
        logger.log(level, "%s", note)
    of_sentences = np.diff(words.sentence_offsets)
    return EncodedWindows(columns, windows.sentence, of_sentences, counts, [note for _, note in notes])


def keep_sentences(encoded: EncodedWindows, first: int, last: int) -> EncodedWindows:
    """The windows of the sentences `first` to `last - 1` alone, which are numbered from 0 then."""
    kept = np.flatnonzero((encoded.sentence >= first) & (encoded.sentence < last))
    columns = {name: take_rows(values, offsets, kept) for name, (values, offsets) in encoded.columns.items()}
    lengths = encoded.sentence_lengths[first:last]
    return EncodedWindows(columns, encoded.sentence[kept] - first, lengths, encoded.counts, encoded.notes)


@dataclass(frozen=True)
class WordsRead:
    """What windows read, word by word, one window after the other: three arrays (words of all windows,)."""

    numbers: npt.NDArray[np.int64]  # of words, through the split; behind the last one that of the separator
    windows: npt.NDArray[np.int64]
    owned: npt.NDArray[np.bool_]  # whether the window trains and scores the word


def _with_separator(words: EncodedWords, context: DocumentContext) -> EncodedWords:
    """The same words, and behind all sentences one more that is the separator of `context`, if it has one."""
    if context.separator is None:
        return words
    ids = np.append(words.ids, np.int32(context.separator))
    return replace(words, ids=ids, word_offsets=np.append(words.word_offsets, len(ids)))


def _with_context(
    windows: Windows,
    owned: npt.NDArray[np.bool_],
    documents: npt.NDArray,
    words: EncodedWords,
    *,
    capacity: int,
    context: DocumentContext,
) -> WordsRead:
    """What windows read with the words of their document around them, which they do not own.

    A separator stands where words of another sentence begin, on either side of the window's own sentence.
    """
    of_sentences = document_borders(documents, words.sentence_offsets)
    borders = (of_sentences[0][windows.sentence], of_sentences[1][windows.sentence])
    lengths = np.diff(words.word_offsets)
    first, last = surround_windows(windows.first, windows.last, borders, lengths, capacity=capacity, context=context)
    wide = Windows(windows.sentence, first, last)
    own = np.zeros(int((last - first).sum()), dtype=bool)
    starts = offsets_of(last - first)[:-1]
    own[ranges(starts + windows.first - first, windows.last - windows.first)] = owned
    read = WordsRead(*window_words(wide), own)
    if context.separator is None:
        return read
    begin, end = (words.sentence_offsets[side:][windows.sentence] for side in (0, 1))
    before, behind = np.flatnonzero(first < begin), np.flatnonzero(last > end)
    places = np.concatenate([(starts + begin - first)[before], (starts + end - first)[behind]])
    return WordsRead(
        np.insert(read.numbers, places, len(lengths)),
        np.insert(read.windows, places, np.concatenate([before, behind])),
        np.insert(read.owned, places, False),
    )


def check_window(max_length: int, stride: int, special: int) -> int:
    """The subwords that a window holds beside `special` special tokens.

    Raises:
        UsageError: none, or no more than `stride`.
    """
    capacity = max_length - special
    if capacity < 1:
        raise UsageError(
            Problem(
                f"--max_length {max_length} leaves no room for words beside {special} special tokens",
                f"at least {special + 1} is needed",
            )
        )
    if not 0 <= stride < capacity:
        raise UsageError(
            Problem(
                f"--stride {stride} does not fit windows of {capacity} subwords (--max_length {max_length} without "
                f"{special} special tokens)",
                f"0 to {capacity - 1} is allowed",
            )
        )
    return capacity


def _columns(
    words: EncodedWords,
    windows: Windows,
    read: WordsRead,
    tags: TagIds | None,
    capacity: int,
    special: SpecialTokens,
) -> dict[str, tuple[npt.NDArray, npt.NDArray[np.int64]]]:
    """Each column as (values, offsets). First the bodies of all windows, flat; then special tokens around each."""
    numbers, owned = read.numbers, read.owned
    counts = np.minimum(np.diff(words.word_offsets), capacity)[numbers]
    subword_offsets = offsets_of(counts)
    first = subword_offsets[:-1]
    ids = words.ids[ranges(words.word_offsets[numbers], counts)]  # (subwords of all windows,)
    positions = np.full(len(ids), IGNORED)
    in_sentence = numbers - words.sentence_offsets[windows.sentence[read.windows]]
    positions[first] = np.where(owned, in_sentence, IGNORED)
    labels = np.full(len(ids), IGNORED)
    if tags is not None and len(numbers):
        ids_of_tags = np.append(tags.ids, UNKNOWN)[numbers]  # the separator has no tag
        labels = np.repeat(np.where(owned, tags.later[ids_of_tags], IGNORED), counts)
        labels[first] = np.where(owned & (ids_of_tags != UNKNOWN), ids_of_tags, IGNORED)
    offsets = subword_offsets[offsets_of(np.bincount(read.windows, minlength=len(windows)))]
    blank_before, blank_after = np.full(len(special.prefix), IGNORED), np.full(len(special.suffix), IGNORED)
    template: dict[str, tuple[npt.NDArray, npt.NDArray, npt.NDArray]] = {
        "input_ids": (ids, special.prefix, special.suffix),
        "token_type_ids": (np.full(len(ids), special.body_type), special.prefix_types, special.suffix_types),
        "labels": (labels, blank_before, blank_after),
        "word_positions": (positions, blank_before, blank_after),
    }
    return {column: surround(values, offsets, before, after) for column, (values, before, after) in template.items()}


def surround(
    values: npt.NDArray, offsets: npt.NDArray[np.int64], before: npt.NDArray, after: npt.NDArray
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Ragged rows `(values, offsets)` with `before` put in front of each row and `after` behind it."""
    lengths = np.diff(offsets)
    surrounded_offsets = offsets_of(lengths + len(before) + len(after))
    surrounded = np.empty(surrounded_offsets[-1], dtype=np.int32)
    surrounded[ranges(surrounded_offsets[:-1] + len(before), lengths)] = values
    surrounded[surrounded_offsets[:-1, None] + np.arange(len(before))] = before
    surrounded[surrounded_offsets[1:, None] - len(after) + np.arange(len(after))] = after
    return surrounded, surrounded_offsets


def _counts(words: EncodedWords, windows: Windows, capacity: int) -> dict[str, int]:
    lengths = np.diff(words.word_offsets)
    too_long = lengths > capacity
    per_sentence = np.bincount(windows.sentence, minlength=len(words.sentence_offsets) - 1)
    return {
        "sentences": len(words.sentence_offsets) - 1,
        "words": len(lengths),
        "pieces": int(lengths.sum()),
        "windows": len(windows),
        "sentences_windowed": int((per_sentence > 1).sum()),
        "words_without_pieces": words.words_without_pieces,
        "control_words": words.control_words,
        "words_cut": int(too_long.sum()),
        "pieces_cut": int((lengths[too_long] - capacity).sum()),
    }


def describe_counts(counts: dict[str, int], max_length: int, name: str) -> list[tuple[int, str]]:
    """What encoding did to a split beside the plain thing: sentences with counts, each with its level of logging."""
    notes = []
    if counts["sentences_windowed"]:
        windowed = f"{counts['sentences_windowed']:,} sentences are longer than --max_length {max_length}"
        how = "and were cut into overlapping windows at word borders; each word is still trained and scored once"
        notes.append((logging.INFO, f"{name}: {windowed} {how}."))
    if counts.get("context_pieces"):
        around = f"{counts['context_pieces']:,} subwords of neighbouring sentences are read around"
        notes.append((logging.INFO, f"{name}: {around} {counts['sentences']:,} sentences, and never labelled."))
    if counts["words_without_pieces"]:
        without_subwords = (
            f"{counts['words_without_pieces']:,} of {counts['words']:,} words have no subwords in this tokenizer"
        )
        notes.append(
            (logging.WARNING, f"{name}: {without_subwords}; each is encoded as the unknown token at its place.")
        )
    if counts["control_words"]:
        spelled = f"{counts['control_words']:,} words spell a control token of the tokenizer (as [SEP] or </s>)"
        notes.append((logging.INFO, f"{name}: {spelled}; they are encoded as text."))
    if counts["words_cut"]:
        cut = f"{counts['pieces_cut']:,} of their subwords were cut off"
        notes.append((logging.WARNING, f"{name}: {counts['words_cut']:,} words are longer than a whole window; {cut}."))
    return notes
