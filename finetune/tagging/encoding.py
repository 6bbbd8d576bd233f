"""Rows of words and tags -> rows of ids and labels that a token classifier takes, and its predictions back to words.

Encoded columns, one row per window: `input_ids`, `labels` (-100 where nothing is trained), `token_type_ids` if the
tokenizer has them, `word_positions` (index of the word in its sentence at the subword that its tag is read from, -100
elsewhere), `sentence` (row of the split), `length` (subwords with special tokens). Over all windows of a sentence every
word has exactly one subword in the loss mask, so no word is lost and none counts twice. With document context a window
also holds words of its document around it, which have neither labels nor positions.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset
from datasets.table import InMemoryTable
from transformers import PreTrainedTokenizerBase

from finetune.encoding.document_context import document_borders, surround_windows
from finetune.encoding.padding import IGNORED
from finetune.encoding.ragged import offsets_of, ranges
from finetune.encoding.special_tokens import SpecialTokens, find_special_tokens
from finetune.encoding.tag_column import TagColumn
from finetune.encoding.unknown_labels import unknown_label
from finetune.errors import DataError, Problem, UsageError
from finetune.tagging.checks import find_line
from finetune.tagging.windows import Windows, count_subwords, own_words, plan_windows, window_words
from finetune.tagging.words import EncodedWords, WordEncoder

logger = logging.getLogger(__name__)

UNKNOWN = -1  # the label id of a tag that the labels lack


@dataclass
class EncodedTagging:
    """An encoded split: `dataset` has a row per window, `sentence_lengths` (sentences,) the words of every sentence.

    `counts` are of windows, words and subwords; `notes` are sentences with those of them that a user should know.
    """

    dataset: Dataset
    sentence_lengths: npt.NDArray[np.int64]
    counts: dict[str, int]
    notes: list[str] = field(default_factory=list)


def encode_tagging(
    split: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    label_list: Sequence[str],
    *,
    max_length: int,
    stride: int = 0,
    context: int = 0,
    label_all_tokens: bool = False,
    continue_labels: bool = False,
    space_token: str | None = None,
    lowercase: bool = False,
    encoder: WordEncoder | None = None,
    name: str = "split",
    files: Sequence[Path] = (),
    others_scored: bool = False,
) -> EncodedTagging:
    """Encode a split with columns `words` and, where it is labelled, `tags`.

    Parameters
    ----------
    split
        Canonical rows; columns other than these two are not looked at, but for `line` and `file` in error messages, and
        for `document` with `context`.
    tokenizer
        Any tokenizer of transformers.
    label_list
        Names of the labels in the order of their ids.
    max_length
        Longest row in subwords, special tokens counted. Longer sentences become several windows.
    stride
        Subwords that two windows of a sentence share at most.
    context
        Subwords of the document that a window gets on each side, as far as `max_length` leaves room; a sentence is never
        cut for their sake. 0: sentences are read by themselves.
    label_all_tokens
        Label every subword of a word, not only its first. The word's prediction is read from the first alone.
    continue_labels
        With `label_all_tokens`: later subwords of a `B-X` word are `I-X` where there is such a label (as `run_ner.py`
        does), not `B-X` again (as thai2transformers does).
    space_token, lowercase
        As in `WordEncoder`.
    encoder
        A `WordEncoder` to go on with, so that words of one split are not tokenized again in the next; `space_token` and
        `lowercase` are then its own.
    name, files
        How log lines and problems call the split, and the files it was read from.

    others_scored
        Whether a tag that `label_list` lacks is no error: it adds nothing to the loss, and the word is scored by name.

    Raises
    ------
    UsageError
        `max_length` leaves no room for a subword, or `stride` is not shorter than a window.
    DataError
        A tag that `label_list` lacks; all such tags are named.
    """
    encoder = encoder or WordEncoder(tokenizer, lowercase=lowercase, space_token=space_token)
    special = find_special_tokens(tokenizer)
    capacity = _capacity(max_length, stride, len(special))
    words = encoder.encode(split.with_format("arrow")[:]["words"])
    tags = _tag_ids(split, label_list, name, files, others_scored=others_scored)
    lengths = np.diff(words.word_offsets)
    windows = plan_windows(lengths, words.sentence_offsets, capacity=capacity, stride=stride)
    owned = own_words(windows, lengths, capacity)
    own_subwords = count_subwords(windows, lengths, capacity)
    if context:
        windows, owned = _with_context(windows, owned, split, words, capacity=capacity, context=context)
    all_subwords = _subword_labels(label_list, label_all_tokens, continue_labels)
    columns = _columns(words, windows, owned, tags, capacity, special, all_subwords)
    if "token_type_ids" not in tokenizer.model_input_names:
        del columns["token_type_ids"]
    counts = _counts(words, windows, capacity)
    if context:
        counts["context_pieces"] = len(columns["input_ids"][0]) - own_subwords - len(special) * len(windows)
    notes = describe_counts(counts, max_length, name)
    for level, note in notes:
        logger.log(level, "%s", note)
    lengths_in_words = np.diff(words.sentence_offsets)
    return EncodedTagging(_dataset(columns, windows.sentence), lengths_in_words, counts, [note for _, note in notes])


def keep_sentences(encoded: EncodedTagging, first: int, last: int) -> EncodedTagging:
    """The windows of the sentences `first` to `last - 1` alone, which are numbered from 0 then."""
    sentence = encoded.dataset.with_format("arrow")[:]["sentence"].to_numpy()
    kept = np.flatnonzero((sentence >= first) & (sentence < last))
    table = encoded.dataset.with_format("arrow")[:].take(pa.array(kept))
    place = table.column_names.index("sentence")
    table = table.set_column(place, "sentence", pa.array((sentence[kept] - first).astype(np.int32)))
    lengths = encoded.sentence_lengths[first:last]
    return EncodedTagging(Dataset(InMemoryTable(table)), lengths, encoded.counts, encoded.notes)


def tag_problems(
    split: Dataset, label_list: Sequence[str], *, name: str = "split", files: Sequence[Path] = ()
) -> list[Problem]:
    """One problem for each tag of the split that `label_list` lacks, at the first word that has it."""
    tags = TagColumn.of_split(split)
    counts = tags.counts()
    problems = []
    for tag in (tag for tag in tags.names if tag not in label_list):
        _, place, index = next(tags.places([tag]))
        row = split[place]
        path = files[row.get("file") or 0] if files else None
        line = find_line(path, row.get("line") or 0, index, row["words"][index])
        problem = unknown_label(
            tag, label_list, noun="tag", place=name, uses=counts[tag], by="the label list", path=path, line=line
        )
        problems.append(problem)
    return problems


def _tag_ids(
    split: Dataset, label_list: Sequence[str], name: str, files: Sequence[Path], *, others_scored: bool
) -> npt.NDArray[np.int64] | None:
    """Label id of every word of the split, (words,), `UNKNOWN` for a tag that the list lacks; None where it has no tags."""
    if "tags" not in split.column_names:
        return None
    problems = [] if others_scored else tag_problems(split, label_list, name=name, files=files)
    if problems:
        raise DataError(*problems)
    tags = TagColumn.of_split(split)
    numbers = dict.fromkeys(tags.names, UNKNOWN) | {label: index for index, label in enumerate(label_list)}
    return tags.numbered(numbers)


def _with_context(
    windows: Windows,
    owned: npt.NDArray[np.bool_],
    split: Dataset,
    words: EncodedWords,
    *,
    capacity: int,
    context: int,
) -> tuple[Windows, npt.NDArray[np.bool_]]:
    """Windows with the words of their document around them, and again whether a window owns a word: none of those."""
    documents = split.with_format("arrow")[:]["document"].to_numpy()
    of_sentences = document_borders(documents, words.sentence_offsets)
    borders = (of_sentences[0][windows.sentence], of_sentences[1][windows.sentence])
    lengths = np.diff(words.word_offsets)
    first, last = surround_windows(windows.first, windows.last, borders, lengths, capacity=capacity, context=context)
    wide = Windows(windows.sentence, first, last)
    own = np.zeros(int((last - first).sum()), dtype=bool)
    own[ranges(offsets_of(last - first)[:-1] + windows.first - first, windows.last - windows.first)] = owned
    return wide, own


def _capacity(max_length: int, stride: int, special: int) -> int:
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


def _subword_labels(label_list: Sequence[str], all_tokens: bool, continue_labels: bool) -> npt.NDArray[np.int64]:
    """Label of the later subwords of a word, by the label of its first subword, (labels + 1,)."""
    if not all_tokens:
        return np.full(len(label_list) + 1, IGNORED)
    ids = {label: index for index, label in enumerate(label_list)}
    inside = {label: "I-" + label[2:] if label.startswith("B-") else label for label in label_list}
    later = [ids.get(inside[label], ids[label]) if continue_labels else ids[label] for label in label_list]
    return np.array([*later, IGNORED])  # the last is that of UNKNOWN


def _columns(
    words: EncodedWords,
    windows: Windows,
    owned: npt.NDArray[np.bool_],
    tags: npt.NDArray[np.int64] | None,
    capacity: int,
    special: SpecialTokens,
    later_labels: npt.NDArray[np.int64],
) -> dict[str, tuple[npt.NDArray, npt.NDArray[np.int64]]]:
    """Each column as (values, offsets). First the bodies of all windows, flat; then special tokens around each."""
    numbers, owner = window_words(windows)  # (window words,)
    counts = np.minimum(np.diff(words.word_offsets), capacity)[numbers]
    subword_offsets = offsets_of(counts)
    first = subword_offsets[:-1]
    ids = words.ids[ranges(words.word_offsets[numbers], counts)]  # (subwords of all windows,)
    positions = np.full(len(ids), IGNORED)
    in_sentence = numbers - words.sentence_offsets[windows.sentence[owner]]
    positions[first] = np.where(owned, in_sentence, IGNORED)
    labels = np.full(len(ids), IGNORED)
    if tags is not None and len(numbers):
        labels = np.repeat(np.where(owned, later_labels[tags[numbers]], IGNORED), counts)
        labels[first] = np.where(owned & (tags[numbers] != UNKNOWN), tags[numbers], IGNORED)
    offsets = subword_offsets[offsets_of(windows.last - windows.first)]
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


def _dataset(columns: dict[str, tuple[npt.NDArray, npt.NDArray[np.int64]]], sentence: npt.NDArray[np.int64]) -> Dataset:
    arrays: dict[str, pa.Array] = {
        name: pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))
        for name, (values, offsets) in columns.items()
    }
    arrays["sentence"] = pa.array(sentence.astype(np.int32))
    arrays["length"] = pa.array(np.diff(columns["input_ids"][1]).astype(np.int32))
    return Dataset(InMemoryTable(pa.table(arrays)))


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
