"""Texts and their labels -> ids, by the kind of model: causal (`lm`), masked (`mlm`), encoder-decoder (`seq2seq`)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from transformers import PreTrainedTokenizerBase

from finetune.encoding.ragged import offsets_of
from finetune.encoding.special_tokens import find_special_tokens, find_start_names, find_start_token, strip_start
from finetune.encoding.subwords import SubwordEncoder
from finetune.errors import DataError, Problem
from finetune.lm_experiments.preprocessing import CONTEXT, Batch
from finetune.lm_experiments.span_corruption import IGNORED, TokenRoles
from finetune.lm_experiments.windows import WholeText, Window
from finetune.surprisal.rows import find_windows
from finetune.tokenization.languages import target_side

logger = logging.getLogger(__name__)

Row = dict[str, list[int]]


@dataclass(frozen=True)
class Bodies:
    """Texts as ids, and what stands before and after each."""

    rows: list[list[int]]
    prefix: list[int]
    suffix: list[int]

    def room(self, max_length: int) -> int:
        """Ids of a text that have room between them; at least one."""
        return max(max_length - len(self.prefix) - len(self.suffix), 1)

    def surround(self, ids: list[int], *, goes_on: bool = False) -> list[int]:
        """With what stands around a text; nothing behind a part of it that `goes_on`."""
        return [*self.prefix, *ids, *([] if goes_on else self.suffix)]


def encode_annotated(
    texts: Sequence[str],
    labels: Sequence[str] | None,
    tokenizer: PreTrainedTokenizerBase,
    *,
    task: str,
    max_length: int,
) -> list[Row]:
    """Ids of each text with the tokenizer's special tokens; a causal text starts with the begin-of-text token, always.

    Args:
        texts: the inputs.
        labels: the targets, or None. `lm` ignores them: there inputs are the targets.
        tokenizer: of the model.
        task: lm, mlm or seq2seq.
        max_length: ids of an example at most; longer texts are cut between their special tokens, and counted.

    Returns:
        `input_ids` and, with labels, `labels` of each example.

    Raises:
        DataError: masked texts whose labels are not as many tokens long as they are; all of them are named.
    """
    inputs, targets = _encode_both(texts, labels, tokenizer, task)
    sides = [inputs] if targets is None else [inputs, targets]
    pairs = zip(*(side.rows for side in sides), strict=True)
    cut = sum(any(len(ids) > side.room(max_length) for ids, side in zip(pair, sides, strict=True)) for pair in pairs)
    if cut:
        logger.warning("%d of %d texts are longer than %d tokens; they are cut.", cut, len(texts), max_length)
    columns = {
        name: [side.surround(ids[: side.room(max_length)]) for ids in side.rows]
        for name, side in zip(("input_ids", "labels"), sides, strict=False)
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def encode_windows(
    texts: Sequence[str],
    labels: Sequence[str] | None,
    tokenizer: PreTrainedTokenizerBase,
    *,
    task: str,
    max_length: int,
) -> tuple[list[Row], list[int], list[Window]]:
    """As `encode_annotated`, but long texts become overlapping windows, as in scoring; nothing is cut off.

    A window begins half a window after the one before it. `context` is 1 where a token of a row is there to be read only,
    because it is predicted in the row before.

    Returns:
        The rows, the text of each, and which part of that text it reads.
    """
    inputs, targets = _encode_both(texts, labels, tokenizer, task)
    sides = {"input_ids": inputs} | ({} if targets is None else {"labels": targets})
    offsets = offsets_of([len(ids) for ids in inputs.rows])
    places, starts, lengths, first = find_windows(offsets, inputs.room(max_length))
    if windowed := int((np.bincount(places) > 1).sum()) if len(places) else 0:
        logger.info(
            "%d of %d texts are longer than %d tokens; they are read in windows.", windowed, len(texts), max_length
        )
    end_ids = inputs.suffix if task == "lm" else []  # tokens that are predicted, too
    wholes = [WholeText(np.array([*ids, *end_ids], dtype=np.int64)) for ids in (targets or inputs).rows]
    rows, windows = [], []
    for place, start, end, own in zip(places, starts, starts + lengths, first, strict=True):
        left, right, shared = int(start - offsets[place]), int(end - offsets[place]), int(own - start)
        goes_on = task == "lm" and bool(end < offsets[place + 1])  # no end of the text is said in its middle
        row = {name: side.surround(side.rows[place][left:right], goes_on=goes_on) for name, side in sides.items()}
        before, width = len(inputs.prefix), len(row["input_ids"])
        row[CONTEXT] = [int(before <= number < before + shared) for number in range(width)]
        rows.append(row)
        right += 0 if goes_on else len(end_ids)
        windows.append(Window(wholes[place], left, left + shared, right, before, width))
    return rows, places.tolist(), windows


def _encode_both(
    texts: Sequence[str], labels: Sequence[str] | None, tokenizer: PreTrainedTokenizerBase, task: str
) -> tuple[Bodies, Bodies | None]:
    inputs = _encode_causal(texts, tokenizer) if task == "lm" else _encode(texts, tokenizer)
    targets = None if labels is None or task == "lm" else _encode_labels(labels, tokenizer, task)
    if task == "mlm" and targets is not None:
        _require_lengths(inputs, targets)
    return inputs, targets


def _encode_labels(labels: Sequence[str], tokenizer: PreTrainedTokenizerBase, task: str) -> Bodies:
    if task != "seq2seq":
        return _encode(labels, tokenizer)
    with target_side(tokenizer):
        return _encode(labels, tokenizer)


def _encode(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Bodies:
    """Ids between the special tokens of the tokenizer; masks that the texts spell are masks, other control tokens text."""
    encoder = SubwordEncoder(tokenizer, kept=(tokenizer.mask_token,))
    specials, subwords = find_special_tokens(tokenizer), encoder.encode(texts)
    if subwords.control_texts:
        logger.warning(
            "%d texts spell a control token of the tokenizer; it is encoded as text.", subwords.control_texts
        )
    rows = np.split(subwords.ids, np.cumsum(subwords.lengths)[:-1]) if len(texts) else []
    return Bodies([row.tolist() for row in rows], specials.prefix.tolist(), specials.suffix.tolist())


def _encode_causal(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Bodies:
    """GPT-2's tokenizer adds no begin-of-text token; without one the first word is predicted by nothing.

    Texts that spell it in front, as some are kept, have it once, not twice.
    """
    stripped, started = strip_start(texts, find_start_names(tokenizer))
    if count := sum(started):
        logger.warning("%d texts brought a begin-of-text token of their own; none has a second one.", count)
    bodies, start = _encode(stripped, tokenizer), find_start_token(tokenizer)
    return bodies if bodies.prefix or start is None else replace(bodies, prefix=[start])


def _require_lengths(inputs: Bodies, targets: Bodies) -> None:
    around = len(inputs.prefix) + len(inputs.suffix)
    problems = [
        Problem(
            f"example {number} has {len(ids) + around} tokens, its labels {len(wanted) + around}",
            "a masked text and its labels align",
        )
        for number, (ids, wanted) in enumerate(zip(inputs.rows, targets.rows, strict=True), start=1)
        if len(ids) != len(wanted)
    ]
    if problems:
        raise DataError(*problems)


def pad_rows(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> Batch:
    """A batch of arrays: `input_ids` and `attention_mask` (rows, length), with labels `labels` padded with -100."""
    ids, held = _pad([row["input_ids"] for row in rows], TokenRoles.of(tokenizer).pad_id)
    batch: Batch = {"input_ids": ids, "attention_mask": held.astype(np.int64)}
    if rows and "labels" in rows[0]:
        batch["labels"] = _pad([row["labels"] for row in rows], IGNORED)[0]
    if rows and CONTEXT in rows[0]:
        batch[CONTEXT] = _pad([row[CONTEXT] for row in rows], 0)[0]
    return batch


def _pad(sequences: Sequence[list[int]], filler: int) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(item) for item in sequences])
    held = np.arange(lengths.max(initial=0)) < lengths[:, None]
    padded = np.full(held.shape, filler, dtype=np.int64)
    padded[held] = np.concatenate([np.asarray(item, dtype=np.int64) for item in sequences]) if len(lengths) else []
    return padded, held
