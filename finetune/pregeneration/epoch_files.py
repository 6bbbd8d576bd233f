"""Pregenerated epochs on disk: a compact memory-mapped format, and the documented JSON lines.

`epoch_N.safetensors` holds flat arrays that any reader of safetensors can open:

    input_ids          uint16 or uint32 (all ids,)   as the model sees them: [CLS] A [SEP] B [SEP], masks in place
    lengths            uint16 (instances,)           ids of each instance
    b_starts           uint16 (instances,)           position of the first subword of B: so many positions are segment 0
    is_random_next     uint8 (instances,)            1 where B does not follow A
    masked_counts      uint16 (instances,)           masked positions of each instance
    masked_positions   uint16 (all masked,)
    masked_labels      as input_ids (all masked,)    what stood there

`epoch_N.json` has one object a line with `tokens`, `segment_ids`, `is_random_next`, `masked_lm_positions` and
`masked_lm_labels`. Beside either stands `epoch_N_metrics.json` with `num_training_examples` and `max_seq_len`, and from us
also what the data was made with.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.data.json_values import parse_json
from finetune.encoding.padding import IGNORED
from finetune.encoding.ragged import offsets_of
from finetune.errors import DataError, Problem
from finetune.pregeneration.instances import Instances
from finetune.run.atomic_files import AtomicFile

MAKE_AGAIN = "make the data again with pregenerate_training_data.py"
METRICS_KEYS = ("num_training_examples", "max_seq_len")
COPY_BYTES = 1 << 20
ALIGNMENT = 8
SAFETENSORS_TYPES = {"U8": "|u1", "U16": "<u2", "U32": "<u4"}
DTYPE_NAMES = {np.dtype(dtype): name for name, dtype in SAFETENSORS_TYPES.items()}
ARRAYS = {  # name in the file -> field of Instances
    "input_ids": "ids",
    "masked_labels": "masked_labels",
    "lengths": "lengths",
    "b_starts": "b_starts",
    "masked_counts": "masked_counts",
    "masked_positions": "masked_positions",
    "is_random_next": "is_random_next",
}


class OutputFormat(StrEnum):
    """How epochs are written."""

    BINARY = "binary"
    JSON = "json"

    @property
    def suffix(self) -> str:
        return ".safetensors" if self is OutputFormat.BINARY else ".json"


def metrics_path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch_{epoch}_metrics.json"


def read_metrics(folder: Path, epoch: int) -> dict[str, Any]:
    """The metrics of an epoch.

    Raises:
        DataError: the file is missing, or is not what it should be.
    """
    path = metrics_path(folder, epoch)
    try:
        metrics = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(Problem("the metrics of this epoch are missing", remedy=MAKE_AGAIN, path=path)) from error
    except ValueError as error:
        raise DataError(Problem(f"not valid JSON: {error}", remedy=MAKE_AGAIN, path=path)) from error
    if not isinstance(metrics, dict) or not all(isinstance(metrics.get(key), int) for key in METRICS_KEYS):
        found = f"{' and '.join(METRICS_KEYS)} are not both there as whole numbers"
        raise DataError(Problem(found, remedy=MAKE_AGAIN, path=path))
    return metrics


def write_shard_arrays(path: Path, batches: Iterable[Instances | EpochArrays]) -> None:
    """Write a shard's instances as an uncompressed .npz."""
    parts = list(batches)
    arrays = {
        name: np.concatenate([np.asarray(getattr(part, field)) for part in parts]) for name, field in ARRAYS.items()
    }
    arrays["is_random_next"] = arrays["is_random_next"].astype(np.uint8)
    with AtomicFile(path) as file:
        np.savez(file.stream, allow_pickle=False, **arrays)


def join_arrays(path: Path, shards: Sequence[Path]) -> int:
    """One epoch from its shards of arrays, as a safetensors file; returns the number of instances."""
    sizes, dtypes = dict.fromkeys(ARRAYS, 0), {}
    for shard in shards:
        with np.load(shard) as arrays:
            for name in ARRAYS:
                sizes[name] += arrays[name].size
                dtypes[name] = arrays[name].dtype

    with AtomicFile(path) as file:
        file.stream.write(_header({name: (DTYPE_NAMES[dtypes[name]], sizes[name]) for name in ARRAYS}))
        for name in ARRAYS:
            for shard in shards:
                with np.load(shard) as arrays:
                    file.stream.write(arrays[name].tobytes())
    return sizes["lengths"]


def _header(arrays: dict[str, tuple[str, int]]) -> bytes:
    """The head of a safetensors file: its length, then JSON with the place of every flat array."""
    place, entries = 0, {}
    for name, (dtype, size) in arrays.items():
        end = place + size * np.dtype(SAFETENSORS_TYPES[dtype]).itemsize
        entries[name] = {"dtype": dtype, "shape": [size], "data_offsets": [place, end]}
        place = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


@dataclass(frozen=True)
class EpochArrays:
    """The arrays of one epoch; how they are laid out is said above."""

    ids: npt.NDArray[np.unsignedinteger]
    lengths: npt.NDArray[np.uint16]
    b_starts: npt.NDArray[np.uint16]
    is_random_next: npt.NDArray[np.uint8]
    masked_counts: npt.NDArray[np.uint16]
    masked_positions: npt.NDArray[np.uint16]
    masked_labels: npt.NDArray[np.unsignedinteger]


def read_arrays(path: Path) -> EpochArrays:
    """Map an epoch of the compact format.

    Raises:
        DataError: the file is cut short or no such file, or its arrays do not fit together.
    """
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            entries: dict[str, Any] = parse_json(stream.read(length).decode("utf-8"))
        places = {name: entries[name] for name in ARRAYS}
        end = 8 + length + max(entry["data_offsets"][1] for entry in places.values())
        if not all(entry["dtype"] in SAFETENSORS_TYPES for entry in places.values()):
            raise ValueError("arrays of another type")
    except (struct.error, ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError) as error:
        raise DataError(Problem("this is not an epoch of pregenerated data", remedy=MAKE_AGAIN, path=path)) from error
    if path.stat().st_size != end:
        found = f"the file has {path.stat().st_size:,} bytes and should have {end:,}"
        raise DataError(Problem(found, "", MAKE_AGAIN, path))
    data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length))
    try:
        arrays = EpochArrays(**{ARRAYS[name]: _array(data, entry) for name, entry in places.items()})
        fits = _fit_together(arrays)
    except (ValueError, TypeError):  # lengths that are no multiples of a number's size
        fits = False
    if not fits:
        raise DataError(Problem("its arrays have lengths that do not fit together", "", MAKE_AGAIN, path))
    return arrays


def _fit_together(arrays: EpochArrays) -> bool:
    per_instance = {len(arrays.lengths), len(arrays.b_starts), len(arrays.is_random_next), len(arrays.masked_counts)}
    masked = {len(arrays.masked_positions), len(arrays.masked_labels), int(arrays.masked_counts.sum(dtype=np.int64))}
    return len(per_instance) == len(masked) == 1 and int(arrays.lengths.sum(dtype=np.int64)) == len(arrays.ids)


def _array(data: npt.NDArray[np.uint8], entry: dict[str, Any]) -> npt.NDArray:
    start, end = entry["data_offsets"]
    return data[start:end].view(SAFETENSORS_TYPES[entry["dtype"]])


class PregeneratedEpoch:
    """One epoch as training examples of NumPy arrays.

    `epoch[i]` has `input_ids`, `token_type_ids`, `labels` (-100 where nothing is masked) and `next_sentence_label` (1 where
    B does not follow A).
    """

    def __init__(self, arrays: EpochArrays) -> None:
        self.arrays = arrays
        self._offsets = offsets_of(arrays.lengths)
        self._masked_offsets = offsets_of(arrays.masked_counts)

    @property
    def lengths(self) -> npt.NDArray[np.uint16]:
        return self.arrays.lengths

    def __len__(self) -> int:
        return len(self.arrays.lengths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index = int(index) % len(self)
        ids = self.arrays.ids[self._offsets[index] : self._offsets[index + 1]].astype(np.int64)
        masked = slice(self._masked_offsets[index], self._masked_offsets[index + 1])
        labels = np.full(len(ids), IGNORED, dtype=np.int64)
        labels[self.arrays.masked_positions[masked]] = self.arrays.masked_labels[masked]
        return {
            "input_ids": ids,
            "token_type_ids": (np.arange(len(ids)) >= self.arrays.b_starts[index]).astype(np.int64),
            "labels": labels,
            "next_sentence_label": int(self.arrays.is_random_next[index]),
        }
