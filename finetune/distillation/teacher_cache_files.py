"""A teacher's top-k logits on disk, memory-mapped: what each example learns at each of its positions.

The name of a cache is a hash of all that decides it (teacher, examples, masks, temperature, K), so it is either exactly what
is asked for or another one. It is written aside and gets its name when it is whole; what a killed process leaves is never
mistaken for a cache, and is removed by the next one.

    <name>/ids.bin        K ids at each position (uint16 or uint32)
    <name>/values.bin     their log-probabilities, and that of all others together, K + 1 (float32)
    <name>/places.bin     for each example the first of its positions, and their number (int64)
    <name>/cache.json     sizes, and what it was made from
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from finetune.data.json_values import parse_json
from finetune.encoding.subwords import id_dtype
from finetune.run.atomic_files import make_folder_aside, name_folder

DESCRIPTION = "cache.json"
IDS, VALUES, PLACES = "ids.bin", "values.bin", "places.bin"
NAME_LENGTH = 20


class Rows(Protocol):
    """Examples by number."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


def name_of(facts: Mapping[str, Any]) -> str:
    """The name of the cache that these facts decide."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:NAME_LENGTH]


class TeacherCache:
    """What a teacher answers to each of a number of examples."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.description: dict[str, Any] = parse_json((folder / DESCRIPTION).read_text(encoding="utf-8"))
        count = self.description["k"]
        self._ids = _map(folder / IDS, self.description["id_dtype"], count)
        self._values = _map(folder / VALUES, "<f4", count + 1)
        self._places = _map(folder / PLACES, "<i8", 2)

    @classmethod
    def find(cls, folder: Path) -> TeacherCache | None:
        """The cache of that name if it is there and whole: a file of another size makes it none."""
        try:
            cache = cls(folder)
            positions, examples = cache.description["positions"], cache.description["examples"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        found = [len(cache._ids), len(cache._values), len(cache._places)]
        return cache if found == [positions, positions, examples] else None

    def of(self, index: int) -> dict[str, npt.NDArray]:
        """`teacher_ids` (positions, K) and `teacher_values` (positions, K + 1) of an example."""
        start, number = self._places[index].tolist()
        return {
            "teacher_ids": self._ids[start : start + number],
            "teacher_values": self._values[start : start + number],
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """Worker processes that are started anew map the files themselves."""
        return TeacherCache, (self.folder,)


def _map(path: Path, dtype: str, width: int) -> npt.NDArray:
    """The whole rows of a file; a ValueError where its size is no whole number of them."""
    if path.stat().st_size == 0:
        return np.empty((0, width), dtype=dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r")).reshape(-1, width)


class TeacherCacheWriter:
    """Writes a cache; the examples come in any order, each once."""

    def __init__(self, folder: Path, *, examples: int, count: int, answers: int) -> None:
        self.folder, self.count, self.dtype = folder, count, np.dtype(id_dtype(answers)).newbyteorder("<")
        self.places = np.full((examples, 2), -1, dtype="<i8")
        self.positions = 0
        self._streams: dict[str, Any] = {}

    @contextmanager
    def writing(self, facts: Mapping[str, Any]) -> Iterator[TeacherCacheWriter]:
        """Add within this; at its end the cache is whole and gets its name. Left by an exception, it leaves nothing.

        The caller holds the lock of the folder (`only_one_prepares`).
        """
        aside = make_folder_aside(self.folder)
        try:
            with ExitStack() as files:
                self._streams = {name: files.enter_context((aside / name).open("wb")) for name in (IDS, VALUES)}
                yield self
                self._finish(aside, facts)
            name_folder(aside, self.folder)
        finally:
            if aside.exists():
                shutil.rmtree(aside)

    def add(self, indices: Sequence[int], numbers: Sequence[int], ids: npt.NDArray, values: npt.NDArray) -> None:
        """The answers at the positions of some examples, one after the other: `numbers[i]` of `indices[i]`."""
        ends = self.positions + np.cumsum(numbers)
        self.places[list(indices)] = np.stack([ends - np.asarray(numbers), numbers], axis=1)
        self.positions = int(ends[-1])
        self._streams[IDS].write(ids.astype(self.dtype, copy=False).tobytes())
        self._streams[VALUES].write(values.astype("<f4", copy=False).tobytes())

    def _finish(self, aside: Path, facts: Mapping[str, Any]) -> None:
        assert (self.places >= 0).all(), "an example was not distilled"
        (aside / PLACES).write_bytes(self.places.tobytes())
        sizes = {"k": self.count, "positions": self.positions, "examples": len(self.places), "id_dtype": self.dtype.str}
        (aside / DESCRIPTION).write_text(json.dumps({**sizes, "made_from": dict(facts)}, indent=1, default=str))


def estimate_bytes(positions: int, count: int, answers: int) -> int:
    """What a cache of so many positions takes on disk."""
    return positions * (count * np.dtype(id_dtype(answers)).itemsize + (count + 1) * 4)


class TeacherRows:
    """Rows with what the teacher answers to them. Without caches (yet) they are the rows as they are.

    `caches` has one cache for each epoch, or a single one where every epoch shows the same.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows, self.caches, self._epoch = rows, list[TeacherCache](), RawValue("q", 0)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = dict(self.rows[int(index)])
        if not self.caches:
            return row
        return row | self.caches[self._epoch.value if len(self.caches) > 1 else 0].of(int(index))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Ids of each row."""
        if hasattr(self.rows, "lengths"):
            return self.rows.lengths
        return np.array([len(self.rows[index]["input_ids"]) for index in range(len(self.rows))], dtype=np.int64)

    def set_epoch(self, epoch: int) -> None:
        """Show the answers of another epoch, and let the rows draw its masks."""
        self._epoch.value = epoch
        if hasattr(self.rows, "set_epoch"):
            self.rows.set_epoch(epoch)


def count_epochs(epochs: float, max_steps: int, steps_per_epoch: int) -> int:
    """How many epochs a run begins; `max_steps` above 0 is what counts."""
    return math.ceil(max_steps / steps_per_epoch if max_steps > 0 else epochs)
