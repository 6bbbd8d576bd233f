"""Rows of words and tags -> rows of ids and labels that a token classifier takes, and its predictions back to words.

Encoded columns, one row per window: `input_ids`, `labels` (-100 where nothing is trained), `token_type_ids` if the
tokenizer has them, `word_positions` (index of the word in its sentence at the subword that its tag is read from, -100
elsewhere), `sentence` (row of the split), `length` (subwords with special tokens). Over all windows of a sentence every
word has exactly one subword in the loss mask, so no word is lost and none counts twice. With document context a window
also holds words of its document around it, which have neither labels nor positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset
from datasets.table import InMemoryTable
from transformers import PreTrainedTokenizerBase

from finetune.encoding.document_context import ALONE, DocumentContext
from finetune.encoding.padding import IGNORED
from finetune.encoding.special_tokens import find_special_tokens
from finetune.encoding.tag_column import TagColumn
from finetune.encoding.unknown_labels import unknown_label
from finetune.errors import DataError, Problem
from finetune.tagging.checks import find_line
from finetune.tagging.window_rows import UNKNOWN, TagIds, check_window, encode_windows
from finetune.tagging.words import WordEncoder


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
    context: DocumentContext = ALONE,
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
        What of the document a window gets on each side, as far as `max_length` leaves room; a sentence is never cut for
        its sake. Without it sentences are read by themselves.
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
    check_window(max_length, stride, len(find_special_tokens(tokenizer)))
    words = encoder.encode(split.with_format("arrow")[:]["words"])
    ids = _tag_ids(split, label_list, name, files, others_scored=others_scored)
    tags = None if ids is None else TagIds(ids, _subword_labels(label_list, label_all_tokens, continue_labels))
    windows = encode_windows(
        words,
        tokenizer,
        max_length=max_length,
        stride=stride,
        tags=tags,
        name=name,
        context=context,
        documents=split.with_format("arrow")[:]["document"].to_numpy() if context else None,
    )
    return EncodedTagging(
        _dataset(windows.columns, windows.sentence), windows.sentence_lengths, windows.counts, windows.notes
    )


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


def _subword_labels(label_list: Sequence[str], all_tokens: bool, continue_labels: bool) -> npt.NDArray[np.int64]:
    """Label of the later subwords of a word, by the label of its first subword, (labels + 1,)."""
    if not all_tokens:
        return np.full(len(label_list) + 1, IGNORED)
    ids = {label: index for index, label in enumerate(label_list)}
    inside = {label: "I-" + label[2:] if label.startswith("B-") else label for label in label_list}
    later = [ids.get(inside[label], ids[label]) if continue_labels else ids[label] for label in label_list]
    return np.array([*later, IGNORED])  # the last is that of UNKNOWN


def _dataset(columns: dict[str, tuple[npt.NDArray, npt.NDArray[np.int64]]], sentence: npt.NDArray[np.int64]) -> Dataset:
    arrays: dict[str, pa.Array] = {
        name: pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))
        for name, (values, offsets) in columns.items()
    }
    arrays["sentence"] = pa.array(sentence.astype(np.int32))
    arrays["length"] = pa.array(np.diff(columns["input_ids"][1]).astype(np.int32))
    return Dataset(InMemoryTable(pa.table(arrays)))
