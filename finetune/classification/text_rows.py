"""Texts -> rows of ids as flat arrays: what training and prediction share of encoding, in numpy."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from finetune.classification.column_choice import ProblemType
from finetune.classification.special_token_template import Template, find_template
from finetune.classification.truncation import Fitted, LongText, Parts, fit_texts
from finetune.encoding.padding import IGNORED
from finetune.encoding.ragged import offsets_of, ranges, split_rows
from finetune.encoding.subwords import SubwordEncoder, Subwords
from finetune.errors import Problem, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Ints = npt.NDArray[np.int64]
Column = tuple[npt.NDArray[np.int32], Ints]  # values, and the offsets of rows in them


@dataclass(frozen=True)
class EncodedTexts:
    """`number` texts as rows: columns by name, and which text each row belongs to, (rows,)."""

    columns: dict[str, Column]
    examples: Ints
    number: int
    counts: dict[str, int]

    def rows(self) -> list[dict[str, Any]]:
        """What a model is given of each row."""
        return split_rows(self.columns)


def encode_texts(
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    tokenizer: PreTrainedTokenizerBase,
    encoder: SubwordEncoder,
    *,
    max_length: int,
    long_text: LongText = LongText.TRUNCATE,
    stride: int = 0,
    by_length: bool = False,
    name: str = "split",
) -> EncodedTexts:
    """Texts, or pairs with the second texts in `pairs`; the options are those of `encode_classification`.

    Raises:
        UsageError: `max_length` leaves no room for a subword, or `stride` is not shorter than a window.
    """
    template = find_template(tokenizer, pairs=pairs is not None)
    windowed = long_text is LongText.WINDOWS
    capacity = _capacity(max_length, stride if windowed else 0, len(template), pairs is not None)
    first = encoder.encode(texts)
    second = _nothing(first) if pairs is None else encoder.encode(pairs)
    fitted = fit_texts(
        first.lengths.astype(np.int64),
        second.lengths.astype(np.int64),
        capacity=capacity,
        how=long_text,
        stride=stride,
        keep_end=getattr(tokenizer, "truncation_side", "right") == "left",
    )
    order = _longest_first(fitted) if by_length else np.arange(len(fitted.example))
    columns = _assemble(first, second, fitted, template, order)
    if "token_type_ids" not in tokenizer.model_input_names:
        del columns["token_type_ids"]
    counts = _count(first, second, fitted, capacity)
    _report(counts, long_text, max_length, name)
    return EncodedTexts(columns, fitted.example[order], len(texts), counts)


def encode_label_values(values: Sequence[Any], labels: Sequence[str], problem_type: ProblemType) -> npt.NDArray:
    """Label ids (examples,), 0/1 decisions (examples, labels), or values (examples,)."""
    number = len(values)
    ids = {label: index for index, label in enumerate(labels)}
    if problem_type is ProblemType.SINGLE:
        return np.fromiter((ids[value] for value in values), np.int64, number)
    if problem_type is ProblemType.REGRESSION:
        scores = np.asarray(values, dtype=np.float32)
        return np.where(scores == IGNORED, np.nextafter(scores, 0), scores)  # a real -100 is no missing label
    decisions = np.zeros((number, len(labels)), dtype=np.float32)
    for row, names in enumerate(values):
        decisions[row, [ids[label] for label in names]] = 1.0
    return decisions


def _capacity(max_length: int, stride: int, special: int, pairs: bool) -> int:
    capacity, least = max_length - special, 2 if pairs else 1
    if capacity < least:
        found = f"--max_seq_length {max_length} leaves no room for texts beside {special} special tokens"
        raise UsageError(Problem(found, f"at least {special + least} is needed"))
    room = capacity - capacity // 2 if pairs else capacity
    if not 0 <= stride < room:
        found = f"--stride {stride} does not fit windows of {room} subwords (--max_seq_length {max_length})"
        raise UsageError(Problem(found, f"0 to {room - 1} is allowed"))
    return capacity


def _nothing(subwords: Subwords) -> Subwords:
    return Subwords(np.empty(0, subwords.ids.dtype), np.zeros_like(subwords.lengths))


def _longest_first(fitted: Fitted) -> Ints:
    return np.argsort(-(fitted.first.length + fitted.second.length), kind="stable")


def _assemble(
    first: Subwords, second: Subwords, fitted: Fitted, template: Template, order: Ints
) -> dict[str, tuple[npt.NDArray[np.int32], Ints]]:
    """Each column as (values, offsets): template and kept subwords laid one after the other, row by row."""
    example = fitted.example[order]
    subwords = [
        *_runs(first, fitted.first, example, order),
        *_runs(second, fitted.second, example, order),
    ]
    rows = len(order)
    template_lengths = [np.full(rows, len(part)) for part in (template.prefix, template.middle, template.suffix)]
    lengths = [
        template_lengths[0],
        subwords[0][1],
        subwords[1][1],
        template_lengths[1],
        subwords[2][1],
        subwords[3][1],
        template_lengths[2],
    ]
    offsets = offsets_of(np.sum(lengths, axis=0))
    starts = offsets[:-1] + np.cumsum([np.zeros(rows, dtype=np.int64), *lengths[:-1]], axis=0)
    ids, types = np.empty(offsets[-1], dtype=np.int32), np.empty(offsets[-1], dtype=np.int32)
    for place, part, part_types in (
        (0, template.prefix, template.prefix_types),
        (3, template.middle, template.middle_types),
        (6, template.suffix, template.suffix_types),
    ):
        target = ranges(starts[place], lengths[place])
        ids[target], types[target] = np.tile(part, rows), np.tile(part_types, rows)
    for place, (values, length), kind in zip((1, 2, 4, 5), subwords, np.repeat(template.text_types, 2), strict=True):
        target = ranges(starts[place], length)
        ids[target], types[target] = values, kind
    return {"input_ids": (ids, offsets), "token_type_ids": (types, offsets)}


def _runs(subwords: Subwords, parts: Parts, example: Ints, order: Ints) -> list[tuple[npt.NDArray, Ints]]:
    """The kept heads and tails of all rows, flat, with their lengths."""
    begin = offsets_of(subwords.lengths)[:-1][example]
    heads = (parts.head_start[order], parts.head_length[order])
    tails = (parts.tail_start[order], parts.tail_length[order])
    return [(subwords.ids[ranges(begin + start, length)], length) for start, length in (heads, tails)]


def _count(first: Subwords, second: Subwords, fitted: Fitted, capacity: int) -> dict[str, int]:
    total = first.lengths.astype(np.int64) + second.lengths
    kept = np.bincount(fitted.example, fitted.first.length + fitted.second.length, minlength=len(total))
    rows = np.bincount(fitted.example, minlength=len(total))
    lost = np.where(rows > 1, np.minimum(first.lengths, second.lengths) - capacity // 2, total - kept)
    return {
        "texts": len(total),
        "pieces": int(total.sum()),
        "rows": len(fitted.example),
        "texts_too_long": int((total > capacity).sum()),
        "texts_cut": int((lost > 0).sum()),
        "pieces_cut": int(np.maximum(lost, 0).sum()),
        "control_texts": first.control_texts + second.control_texts,
    }


def _report(counts: dict[str, int], long_text: LongText, max_length: int, name: str) -> None:
    """Say how many texts spell control tokens, how many were too long, and what became of them; nothing of none."""
    if counts["control_texts"]:
        logger.warning(
            "%s: %s texts spell a control token of the tokenizer (as [SEP] or </s>); it is encoded as text.",
            name,
            f"{counts['control_texts']:,}",
        )
    if not counts["texts_too_long"]:
        return
    what = {
        LongText.TRUNCATE: "they were cut off at the end",
        LongText.HEAD_TAIL: "their middle was left out",
        LongText.WINDOWS: f"they were read in windows ({counts['rows']:,} rows in all), whose scores are averaged",
    }[long_text]
    lost = f", {counts['pieces_cut']:,} of {counts['pieces']:,} subwords lost" if counts["pieces_cut"] else ""
    logger.warning(
        "%s: %s of %s texts are longer than --max_seq_length %d; %s%s.",
        name,
        f"{counts['texts_too_long']:,}",
        f"{counts['texts']:,}",
        max_length,
        what,
        lost,
    )
