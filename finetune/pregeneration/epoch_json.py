"""Pregenerated epochs as the documented JSON lines (`epoch_N.json`): written, joined, read back into flat arrays.

One object a line: `tokens`, `segment_ids`, `is_random_next`, `masked_lm_positions`, `masked_lm_labels`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from finetune.data.files import iterate_lines
from finetune.data.json_values import parse_json
from finetune.encoding.subwords import id_dtype
from finetune.errors import DataError, Problem
from finetune.pregeneration.epoch_files import (
    COPY_BYTES,
    MAKE_AGAIN,
    EpochArrays,
    join_arrays,
    write_shard_arrays,
)
from finetune.pregeneration.instances import Instances
from finetune.run.atomic_files import AtomicFile


def write_shard_lines(path: Path, batches: Iterable[Instances], tokens: Sequence[str]) -> None:
    """Write a shard's instances as documented JSON lines. `tokens` are the subwords by id."""
    quoted = [json.dumps(token) for token in tokens]

    with AtomicFile(path) as file:
        for instances in batches:
            file.stream.writelines(line.encode() for line in json_lines(instances, quoted))


def json_lines(instances: Instances, quoted: Sequence[str]) -> Iterator[str]:
    """The documented line of every instance. `quoted` are the subwords by id, as JSON strings."""
    ends = np.cumsum(instances.lengths, dtype=np.int64).tolist()
    masked_ends = np.cumsum(instances.masked_counts, dtype=np.int64).tolist()
    subwords = [quoted[index] for index in instances.ids.tolist()]
    labels = [quoted[index] for index in instances.masked_labels.tolist()]
    positions = [str(position) for position in instances.masked_positions.tolist()]
    start = masked_start = 0
    places = zip(ends, masked_ends, instances.b_starts.tolist(), instances.is_random_next.tolist(), strict=True)
    for end, masked_end, b_start, is_random in places:
        segments = ", ".join(["0"] * b_start + ["1"] * (end - start - b_start))
        yield (
            f'{{"tokens": [{", ".join(subwords[start:end])}], "segment_ids": [{segments}], '
            f'"is_random_next": {"true" if is_random else "false"}, '
            f'"masked_lm_positions": [{", ".join(positions[masked_start:masked_end])}], '
            f'"masked_lm_labels": [{", ".join(labels[masked_start:masked_end])}]}}\n'
        )
        start, masked_start = end, masked_end


def join_lines(path: Path, shards: Sequence[Path]) -> int:
    """One epoch from its shards of JSON lines; returns the number of instances."""
    instances = 0
    with AtomicFile(path) as file:
        for shard in shards:
            with shard.open("rb") as source:
                while block := source.read(COPY_BYTES):
                    instances += block.count(b"\n")
                    file.stream.write(block)
    return instances


def read_lines(path: Path, tokenizer: PreTrainedTokenizerBase) -> EpochArrays:
    """Read an epoch of documented JSON lines; the subwords become ids of `tokenizer`.

    Raises:
        DataError: lines that are no such objects, or subwords that the tokenizer does not have.
    """
    parts = list(iterate_lines_as_arrays(path, tokenizer))
    empty = _arrays_of([], id_dtype(len(tokenizer)))
    return EpochArrays(
        *(
            np.concatenate([getattr(part, name) for part in [empty, *parts]])
            for name in EpochArrays.__dataclass_fields__
        )
    )


def convert_lines(path: Path, target: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write the compact format of an epoch of JSON lines, in flat memory.

    Raises:
        DataError: as `read_lines`.
    """
    shards = []
    for number, arrays in enumerate(iterate_lines_as_arrays(path, tokenizer)):
        shards.append(target.with_name(f"{target.stem}-{number:06d}.npz"))
        write_shard_arrays(shards[-1], [arrays])
    join_arrays(target, shards)
    for shard in shards:
        shard.unlink()


def iterate_lines_as_arrays(
    path: Path, tokenizer: PreTrainedTokenizerBase, *, batch: int = 4096
) -> Iterator[EpochArrays]:
    """The instances of a file of JSON lines, some thousands at a time."""
    vocabulary, dtype = tokenizer.get_vocab(), id_dtype(len(tokenizer))
    rows: list[_Row] = []
    for number, line in enumerate(iterate_lines(path), start=1):
        rows.append(_read_row(line, path, number, vocabulary))
        if len(rows) == batch:
            yield _arrays_of(rows, dtype)
            rows = []
    if rows:
        yield _arrays_of(rows, dtype)


@dataclass(frozen=True)
class _Row:
    ids: npt.NDArray[np.int64]
    b_start: int
    is_random: bool
    positions: list[int]
    labels: npt.NDArray[np.int64]


def _read_row(line: str, path: Path, number: int, vocabulary: dict[str, int]) -> _Row:
    instance = _read_instance(line, path, number)
    return _Row(
        ids=_ids_of(instance["tokens"], vocabulary, path, number),
        b_start=instance["segment_ids"].count(0),
        is_random=bool(instance["is_random_next"]),
        positions=instance["masked_lm_positions"],
        labels=_ids_of(instance["masked_lm_labels"], vocabulary, path, number),
    )


def _arrays_of(rows: list[_Row], dtype: npt.DTypeLike) -> EpochArrays:
    return EpochArrays(
        ids=_joined([row.ids for row in rows], dtype),
        lengths=np.array([len(row.ids) for row in rows], dtype=np.uint16),
        b_starts=np.array([row.b_start for row in rows], dtype=np.uint16),
        is_random_next=np.array([row.is_random for row in rows], dtype=np.uint8),
        masked_counts=np.array([len(row.labels) for row in rows], dtype=np.uint16),
        masked_positions=_joined([np.array(row.positions) for row in rows], np.uint16),
        masked_labels=_joined([row.labels for row in rows], dtype),
    )


def _joined(parts: list[npt.NDArray], dtype: npt.DTypeLike) -> npt.NDArray:
    return np.concatenate(parts).astype(dtype) if parts else np.empty(0, dtype=dtype)


KEYS = ("tokens", "segment_ids", "is_random_next", "masked_lm_positions", "masked_lm_labels")


def _read_instance(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        instance = parse_json(line)
    except ValueError as error:
        raise DataError(
            Problem("the line is not JSON, or is cut short", remedy=MAKE_AGAIN, path=path, line=number)
        ) from error
    missing = [key for key in KEYS if not isinstance(instance, dict) or key not in instance]
    if missing:
        raise DataError(Problem(f"the instance lacks {', '.join(missing)}", remedy=MAKE_AGAIN, path=path, line=number))
    if found := _disagreement(instance):
        raise DataError(Problem(found, remedy=MAKE_AGAIN, path=path, line=number))
    return instance


def _disagreement(instance: dict[str, Any]) -> str:
    """What of an instance does not fit together; nothing if all does."""
    tokens, segments, positions, labels = (instance[key] for key in KEYS if key != "is_random_next")
    if not all(isinstance(value, list) for value in (tokens, segments, positions, labels)):
        return "tokens, segment_ids, masked_lm_positions and masked_lm_labels are not all lists"
    if len(tokens) != len(segments) or len(positions) != len(labels):
        return "the numbers of tokens and segment_ids, or of masked positions and labels, differ"
    if not all(isinstance(subword, str) for subword in (*tokens, *labels)):
        return "tokens and masked_lm_labels are not all strings"
    first = segments.count(0)
    if segments != [0] * first + [1] * (len(segments) - first):
        return "segment_ids are not zeros followed by ones"
    if not all(type(position) is int and 0 <= position < len(tokens) for position in positions):
        return f"a masked position is not one of the {len(tokens)} tokens"
    return ""


def _ids_of(tokens: list[str], vocabulary: dict[str, int], path: Path, number: int) -> npt.NDArray[np.int64]:
    try:
        return np.array([vocabulary[token] for token in tokens], dtype=np.int64)
    except KeyError as error:
        found = f"the subword {error.args[0]!r} is not in the vocabulary of the tokenizer"
        remedy = "use the same --bert_model and --do_lower_case as for pregenerate_training_data.py"
        raise DataError(Problem(found, "data and model must share a tokenizer", remedy, path, number)) from error
