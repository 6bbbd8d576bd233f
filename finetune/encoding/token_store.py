"""Encoded examples on disk, memory-mapped: a folder of flat arrays under a name that says what they were made from.

The name is a hash of the content of the files, of the tokenizer and of every setting, so a store is either exactly what
is asked for or another one. It is written aside and renamed when it is whole; what a killed process leaves is never
mistaken for a store, and is removed by the next one.

    <name>/tokens.bin     ids of all examples, one after the other (uint16 or uint32, little endian)
    <name>/offsets.bin    where each example begins, and the end (int64)
    <name>/flags.bin      one byte an id: 1 where a word begins, 2 where a document begins (only where asked for)
    <name>/store.json     what it is: sizes, counts, settings, tokenizer, files
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.data.json_values import parse_json
from finetune.encoding.blocks import Blocks
from finetune.encoding.draws import draw_number
from finetune.errors import RunError
from finetune.run.atomic_files import make_folder_aside, name_folder

logger = logging.getLogger(__name__)

FORMAT = 1
DESCRIPTION = "store.json"
TOKENS, OFFSETS, FLAGS = "tokens.bin", "offsets.bin", "flags.bin"


class TokenStore:
    """Examples of a corpus, read where they lie: `store[i]` is a dict of NumPy arrays `input_ids` (and `flags`).

    With `seed`, an example also has a `draw`: a number that seed, epoch and index decide, and nothing else. The masking
    collator draws from it, so masks change with every epoch and are the same however the examples are put into
    batches, spread over processes or resumed. `set_epoch` reaches data loader workers that already run.
    """

    def __init__(self, folder: Path, *, seed: int | None = None) -> None:
        self.folder, self.seed = folder, seed
        self._epoch: Any = RawValue("q", 0)
        try:
            self._open()
        except (ValueError, TypeError, KeyError, AttributeError, SyntaxError, FileNotFoundError) as error:
            raise RunError(
                f"{folder}: this token store is damaged ({error}); remove the folder to make it anew."
            ) from error
        self._range = range(len(self._offsets) - 1)
        self._check_sizes()

    def _open(self) -> None:
        self.description: dict[str, Any] = parse_json((self.folder / DESCRIPTION).read_text(encoding="utf-8"))
        self._offsets = _map(self.folder / OFFSETS, "<i8")
        self._tokens = _map(self.folder / TOKENS, self.description["dtype"])
        self._flags = _map(self.folder / FLAGS, "|u1") if self.description["has_flags"] else None
        if not all(type(self.description[name]) is int for name in ("tokens", "examples")) or not len(self._offsets):
            raise ValueError("its sizes are missing")

    def _check_sizes(self) -> None:
        flags = len(self._tokens) if self._flags is None else len(self._flags)
        found = (len(self._range), len(self._tokens), int(self._offsets[-1]), flags)
        tokens = self.description["tokens"]
        if found != (self.description["examples"], tokens, tokens, tokens):
            raise RunError(f"{self.folder}: the files of this token store disagree; remove the folder to make it anew.")

    @property
    def counts(self) -> dict[str, int]:
        """What was counted while it was made: lines, lines cut, tail..."""
        return self.description["counts"]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Ids of each example."""
        return np.diff(self._offsets[self._range.start : self._range.stop + 1])

    def __len__(self) -> int:
        return len(self._range)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = self._range[int(index)]
        start, end = int(self._offsets[index]), int(self._offsets[index + 1])
        example: dict[str, Any] = {"input_ids": self._tokens[start:end].astype(np.int64)}
        if self._flags is not None:
            example["flags"] = self._flags[start:end]
        if self.seed is not None:
            epoch = 0 if self._epoch is None else self._epoch.value
            example["draw"] = draw_number(self.seed, epoch, index)
        return example

    def set_epoch(self, epoch: int) -> None:
        """Draw other masks from now on."""
        if self._epoch is not None:
            self._epoch.value = epoch

    def fixed(self) -> TokenStore:
        """The same examples with the draws of the first epoch, whatever the epoch: for evaluation.

        accelerate tells the data that it evaluates an epoch of its own, which must not reach the training part of it.
        """
        return _reopen(self.folder, self.seed, None, self._range)

    def part(self, start: int, end: int | None) -> TokenStore:
        """The examples from `start` to `end` (not included; None: the last) of this store; their draws stay theirs."""
        return _reopen(self.folder, self.seed, self._epoch, self._range[start:end])

    def __reduce__(self) -> tuple[Any, ...]:
        """Worker processes that are started anew map the files themselves."""
        return _reopen, (self.folder, self.seed, self._epoch, self._range)


def _reopen(folder: Path, seed: int | None, epoch: Any, examples: range) -> TokenStore:
    store = TokenStore(folder, seed=seed)
    store._epoch, store._range = epoch, examples
    return store


def _map(path: Path, dtype: str) -> npt.NDArray:
    if path.stat().st_size == 0:
        return np.empty(0, dtype=dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))  # a plain view: slicing a memmap costs microseconds


class TokenStoreWriter:
    """Writes a store aside; `commit` makes it whole and gives it its name. Left by an exception, it leaves nothing."""

    def __init__(self, folder: Path, *, dtype: npt.DTypeLike, has_flags: bool) -> None:
        self.folder = folder
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.has_flags = has_flags
        self.examples = self.tokens = 0

    def __enter__(self) -> TokenStoreWriter:
        self.aside = make_folder_aside(self.folder)
        self._files = ExitStack()
        names = (TOKENS, OFFSETS, FLAGS) if self.has_flags else (TOKENS, OFFSETS)
        self._streams = {name: self._files.enter_context((self.aside / name).open("wb")) for name in names}
        self._streams[OFFSETS].write(np.zeros(1, "<i8").tobytes())
        return self

    def add(self, blocks: Blocks) -> None:
        """Append examples."""
        if not len(blocks.lengths):
            return
        ends = self.tokens + np.cumsum(blocks.lengths, dtype="<i8")
        self._streams[TOKENS].write(blocks.ids.astype(self.dtype, copy=False).tobytes())
        self._streams[OFFSETS].write(ends.tobytes())
        if self.has_flags:
            self._streams[FLAGS].write(blocks.flags.tobytes())
        self.examples += len(blocks.lengths)
        self.tokens = int(ends[-1])

    def commit(self, description: Mapping[str, Any]) -> None:
        """Finish: sizes and `description` are written, everything is on the disk, the folder gets its name."""
        for stream in self._streams.values():
            stream.flush()
        sizes = {"examples": self.examples, "tokens": self.tokens, "dtype": self.dtype.str, "has_flags": self.has_flags}
        with (self.aside / DESCRIPTION).open("w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, **sizes, **description}, file, ensure_ascii=False, indent=1)
        name_folder(self.aside, self.folder)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._files.close()
        if self.aside.exists():
            shutil.rmtree(self.aside)
