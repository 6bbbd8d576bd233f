"""The sentences of documents as subword ids on disk: what BERT's instances are built from, without holding it in memory.

    tokens.bin   ids of all sentences, one after the other (uint16 or uint32)
    marks.bin    for each sentence 2 * (where it begins in tokens) + (1 if it begins a document), and one mark behind
                 the last (int64)
    words.bin    one byte an id, 1 where a word begins (only for whole words)
    store.json   sizes, counts, shards; written last

A shard is a run of about `SHARD_TOKENS` ids of whole sentences, at a document border where there is one in reach; it is
the unit of parallel work later on. Writing can be killed at any time and goes on from its last checkpoint.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from finetune.data.json_values import parse_json
from finetune.encoding.lines import EncodedLines, count_lines
from finetune.encoding.ragged import ranges
from finetune.run.manifest import write_json_atomically

SHARD_TOKENS = 1 << 19
CHECKPOINT_BYTES = 1 << 26  # of text between two checkpoints
TOKENS, MARKS, WORDS = "tokens.bin", "marks.bin", "words.bin"
DESCRIPTION, CHECKPOINT = "store.json", "checkpoint.json"


@dataclass(frozen=True)
class Shard:
    """Sentences `first` to `end` (not included)."""

    first: int
    end: int


class FlatFile(Protocol):
    """A flat array on disk."""

    def __len__(self) -> int: ...

    def slice(self, start: int, end: int) -> npt.NDArray: ...

    def rows(self, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray: ...


class MappedFile:
    """Read through a memory map: quick; the pages that were read count as this process's memory until others need it."""

    def __init__(self, path: Path, dtype: npt.DTypeLike) -> None:
        self._array = np.asarray(np.memmap(path, dtype=dtype, mode="r"))

    def __len__(self) -> int:
        return len(self._array)

    def slice(self, start: int, end: int) -> npt.NDArray:
        return self._array[start:end]

    def rows(self, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray:
        """Ranges of the array, one after the other."""
        return self._array[ranges(starts, lengths)]


class PlainFile:
    """Read by plain reads, so that memory holds what is asked for and nothing else, however large the file is."""

    def __init__(self, path: Path, dtype: npt.DTypeLike) -> None:
        self._file = path.open("rb")
        self._dtype = np.dtype(dtype)
        self._length = path.stat().st_size // self._dtype.itemsize

    def __len__(self) -> int:
        return self._length

    def slice(self, start: int, end: int) -> npt.NDArray:
        size = self._dtype.itemsize
        return np.frombuffer(os.pread(self._file.fileno(), (end - start) * size, start * size), dtype=self._dtype)

    def rows(self, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray:
        """Ranges of the array, one after the other."""
        descriptor, size = self._file.fileno(), self._dtype.itemsize
        places = zip((starts * size).tolist(), (lengths * size).tolist(), strict=True)
        return np.frombuffer(b"".join([os.pread(descriptor, length, start) for start, length in places]), self._dtype)


class SentenceStore:
    """Reads a finished store. With `reduce_memory`, by plain reads instead of a memory map; what comes out is the same."""

    def __init__(self, folder: Path, *, reduce_memory: bool = False) -> None:
        self.folder = folder
        self.description: dict[str, Any] = parse_json((folder / DESCRIPTION).read_text(encoding="utf-8"))
        open_file: Callable[[Path, npt.DTypeLike], FlatFile] = PlainFile if reduce_memory else MappedFile
        self.tokens = open_file(folder / TOKENS, self.description["dtype"])
        self.marks = open_file(folder / MARKS, "<i8")
        self.words = open_file(folder / WORDS, "|u1") if self.description["has_words"] else None
        self.shards = [Shard(*item) for item in self.description["shards"]]
        self.split_documents = [tuple(item) for item in self.description["split_documents"]]
        self.sentences = len(self.marks) - 1

    def sentence_borders(self, shard: Shard) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Where the sentences of a shard begin in tokens, and the last ends (sentences + 1,); whether each of these places
        begins a document (the end of all sentences does).
        """
        marks = self.marks.slice(shard.first, shard.end + 1)
        return marks >> 1, (marks & 1).astype(bool)

    def borders_after(self, sentences: npt.NDArray[np.int64], width: int) -> tuple[npt.NDArray, npt.NDArray[np.bool_]]:
        """The same for `width` sentences from each of `sentences` on: (rows, width + 1); behind the end, its mark."""
        lengths = np.minimum(width + 1, self.sentences + 1 - sentences)
        marks = self.marks.rows(sentences, lengths)
        inside = np.arange(width + 1) < lengths[:, None]
        window = np.full(inside.shape, 2 * len(self.tokens) + 1, dtype=np.int64)
        window[inside] = marks
        return window >> 1, (window & 1).astype(bool)

    def split_document_around(self, sentence: int) -> tuple[int, int] | None:
        """First sentence and end of a document that is spread over shards, if `sentence` lies in one."""
        return next((item for item in self.split_documents if item[0] <= sentence < item[1]), None)


class SentenceStoreWriter:
    """Writes a store; killed, it goes on from its last checkpoint: `chunks_done` chunks of text are in it then."""

    def __init__(self, folder: Path, *, dtype: npt.DTypeLike, has_words: bool) -> None:
        self.folder, self.has_words = folder, has_words
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.counts: Counter[str] = Counter()
        self.tokens = self.sentences = 0
        self._bytes_at_checkpoint = 0

    @property
    def chunks_done(self) -> int:
        return self.counts["chunks"]

    @property
    def border_waits(self) -> bool:
        """Whether a document border lies behind the last sentence."""
        return bool(self.counts["border_waits"])

    def __enter__(self) -> SentenceStoreWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        checkpoint = self.folder / CHECKPOINT
        if checkpoint.is_file():
            state = parse_json(checkpoint.read_text(encoding="utf-8"))
            self.tokens, self.sentences, self.counts = state["tokens"], state["sentences"], Counter(state["counts"])
            self._bytes_at_checkpoint = self.counts["bytes"]
        self._files = ExitStack()
        sizes = {TOKENS: self.tokens * self.dtype.itemsize, MARKS: self.sentences * 8}
        sizes |= {WORDS: self.tokens} if self.has_words else {}
        self._streams = {name: self._open(self.folder / name, size) for name, size in sizes.items()}
        return self

    def _open(self, path: Path, size: int) -> IO[bytes]:
        """A stream that goes on behind the `size` bytes that the last checkpoint knows of."""
        path.touch()
        os.truncate(path, size)
        return self._files.enter_context(path.open("ab"))

    def add(self, lines: EncodedLines) -> None:
        """Append the sentences of one chunk of text."""
        starts = self.tokens + np.cumsum(lines.lengths, dtype=np.int64) - lines.lengths
        self._streams[TOKENS].write(lines.ids.astype(self.dtype, copy=False).tobytes())
        self._streams[MARKS].write((2 * starts + lines.begins_document).astype("<i8").tobytes())
        if self.has_words:
            assert lines.word_starts is not None
            self._streams[WORDS].write(lines.word_starts.astype("|u1").tobytes())
        self.tokens += len(lines.ids)
        self.sentences += len(lines.lengths)
        self._count(lines)
        if self.counts["bytes"] - self._bytes_at_checkpoint >= CHECKPOINT_BYTES:
            self._save_checkpoint()

    def _count(self, lines: EncodedLines) -> None:
        documents = int(lines.begins_document.sum())
        self.counts.update(chunks=1, documents=documents, **count_lines(lines))
        self.counts["border_waits"] = lines.border_waits or (self.border_waits and not len(lines.lengths))
        self.counts["longest"] = max(self.counts["longest"], int(lines.lengths.max(initial=0)))

    def _flush(self) -> None:
        for stream in self._streams.values():
            stream.flush()
            os.fsync(stream.fileno())

    def _save_checkpoint(self) -> None:
        self._flush()
        state = {"tokens": self.tokens, "sentences": self.sentences, "counts": dict(self.counts)}
        write_json_atomically(self.folder / CHECKPOINT, state)
        self._bytes_at_checkpoint = self.counts["bytes"]

    def commit(self, *, shard_tokens: int = SHARD_TOKENS) -> None:
        """Finish the store: from now on it is one."""
        self._streams[MARKS].write(np.array([2 * self.tokens + 1], dtype="<i8").tobytes())
        self._flush()
        shards, split_documents = lay_shards(PlainFile(self.folder / MARKS, "<i8"), shard_tokens)
        description = {
            "tokens": self.tokens,
            "sentences": self.sentences,
            "dtype": self.dtype.str,
            "has_words": self.has_words,
            "counts": dict(self.counts),
            "shards": [[shard.first, shard.end] for shard in shards],
            "split_documents": split_documents,
        }
        write_json_atomically(self.folder / DESCRIPTION, description)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._files.close()


def lay_shards(marks: FlatFile, shard_tokens: int) -> tuple[list[Shard], list[tuple[int, int]]]:
    """Shards, each of at least `shard_tokens` and up to the next document border, but never of more than twice as many
    (and a sentence); and (first sentence, end) of the documents that are cut by that.
    """
    shards: list[Shard] = []
    split_documents: list[tuple[int, int]] = []
    first, last, cut_document = 0, len(marks) - 1, None
    while first < last:
        window = marks.slice(first, min(first + 2 * shard_tokens, last) + 1)  # a sentence has at least one id
        borders = np.flatnonzero(window & 1)
        size = _shard_size((window >> 1) - (window[0] >> 1), borders, shard_tokens)
        if cut_document is not None and (ends := borders[(borders > 0) & (borders <= size)]).size:
            split_documents.append((cut_document, first + int(ends[0])))
            cut_document = None
        if not window[size] & 1:
            inside = borders[borders < size]
            cut_document = first + int(inside[-1]) if len(inside) else cut_document
        shards.append(Shard(first, first + size))
        first += size
    return shards, split_documents


def _shard_size(offsets: npt.NDArray[np.int64], borders: npt.NDArray[np.int64], shard_tokens: int) -> int:
    """Sentences of the next shard, from the offsets (sentences + 1,) and document borders of what is left."""
    rest = len(offsets) - 1
    enough = min(int(np.searchsorted(offsets, shard_tokens)), rest)
    at_most = min(int(np.searchsorted(offsets, 2 * shard_tokens)), rest)
    good = borders[(borders >= enough) & (borders <= at_most)]
    return int(good[0]) if len(good) else at_most
