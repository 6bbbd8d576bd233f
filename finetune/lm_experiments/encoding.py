"""Texts and their labels -> ids, by the kind of model: causal (`lm`), masked (`mlm`), encoder-decoder (`seq2seq`)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from finetune.encoding.special_tokens import find_special_tokens
from finetune.encoding.subwords import SubwordEncoder
from finetune.errors import DataError, Problem
from finetune.lm_experiments.preprocessing import Batch
from finetune.lm_experiments.span_corruption import IGNORED, TokenRoles

logger = logging.getLogger(__name__)

Row = dict[str, list[int]]


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
        max_length: ids of an example at most; longer ones are cut, and counted.

    Returns:
        `input_ids` and, with labels, `labels` of each example.

    Raises:
        DataError: masked texts whose labels are not as many tokens long as they are; all of them are named.
    """
    inputs = _encode(_without_start(texts, tokenizer) if task == "lm" else texts, tokenizer)
    targets = None if labels is None or task == "lm" else _encode(labels, tokenizer)
    if task == "lm":
        inputs = [_with_start(ids, tokenizer) for ids in inputs]
    if task == "mlm" and targets is not None:
        _require_lengths(inputs, targets)
    cut = sum(max(map(len, pair)) > max_length for pair in zip(inputs, targets or inputs, strict=True))
    if cut:
        logger.warning("%d of %d texts are longer than %d tokens; they are cut.", cut, len(inputs), max_length)
    rows: list[Row] = [{"input_ids": ids[:max_length]} for ids in inputs]
    for row, ids in zip(rows, targets or [], strict=False):
        row["labels"] = ids[:max_length]
    return rows


def _encode(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Ids with the special tokens of the tokenizer; masks that the texts spell are masks, other control tokens text."""
    encoder = SubwordEncoder(tokenizer, kept=(tokenizer.mask_token,))
    specials, subwords = find_special_tokens(tokenizer), encoder.encode(texts)
    if subwords.control_texts:
        logger.warning(
            "%d texts spell a control token of the tokenizer; it is encoded as text.", subwords.control_texts
        )
    rows = np.split(subwords.ids, np.cumsum(subwords.lengths)[:-1]) if len(texts) else []
    return [[*specials.prefix.tolist(), *row.tolist(), *specials.suffix.tolist()] for row in rows]


def _without_start(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Texts that spell the begin-of-text token in front, as some are kept, have it once, not twice."""
    start = next((token for token in (tokenizer.bos_token, tokenizer.cls_token, tokenizer.eos_token) if token), "")
    return [text.removeprefix(start) for text in texts]


def _with_start(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """GPT-2's tokenizer adds no begin-of-text token; without one the first word is predicted by nothing."""
    starts = [tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id]
    start = next((number for number in starts if number is not None), None)
    return ids if start is None or ids[:1] == [start] else [start, *ids]


def _require_lengths(inputs: Sequence[list[int]], targets: Sequence[list[int]]) -> None:
    problems = [
        Problem(
            f"example {number} has {len(ids)} tokens, its labels {len(wanted)}", "a masked text and its labels align"
        )
        for number, (ids, wanted) in enumerate(zip(inputs, targets, strict=True), start=1)
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
    return batch


def _pad(sequences: Sequence[list[int]], filler: int) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(item) for item in sequences])
    held = np.arange(lengths.max(initial=0)) < lengths[:, None]
    padded = np.full(held.shape, filler, dtype=np.int64)
    padded[held] = np.concatenate([np.asarray(item, dtype=np.int64) for item in sequences]) if len(lengths) else []
    return padded, held
