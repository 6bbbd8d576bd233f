"""The tags of a split as numbers: each distinct tag is one Python string, whatever the number of words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


class TagColumn:
    """Tags of sentences, one after the other.

    `names` are the distinct tags in the order they occur, `ids` (words,) the place of each word's tag among them,
    `offsets` (sentences + 1,) the words at which sentences begin, and the end.
    """

    def __init__(self, names: list[str], ids: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> None:
        self.names, self.ids, self.offsets = names, ids, offsets

    @classmethod
    def of_split(cls, rows: Dataset) -> TagColumn:
        """The column `tags` of a split; a split without one has no words."""
        if "tags" not in rows.column_names:
            return cls.of_sequences([])
        column = rows.with_format("arrow")[:]["tags"].combine_chunks()
        encoded = column.flatten().dictionary_encode()
        ids = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        return cls(encoded.dictionary.to_pylist(), ids, _offsets(lengths))

    @classmethod
    def of_sequences(cls, sequences: Iterable[Sequence[str]]) -> TagColumn:
        """Lists of tags."""
        sequences = list(sequences)
        numbers: dict[str, int] = {}
        ids = [numbers.setdefault(tag, len(numbers)) for tag in chain.from_iterable(sequences)]
        return cls(list(numbers), np.array(ids, dtype=np.int64), _offsets([len(tags) for tags in sequences]))

    @classmethod
    def joined(cls, columns: Iterable[TagColumn]) -> TagColumn:
        """Several columns, one after the other."""
        columns = list(columns)
        names = list(dict.fromkeys(chain.from_iterable(column.names for column in columns)))
        numbers = {name: number for number, name in enumerate(names)}
        ids = [column.numbered(numbers) for column in columns]
        lengths = [np.diff(column.offsets) for column in columns]
        return cls(names, _concatenated(ids), _offsets(_concatenated(lengths)))

    def counts(self) -> dict[str, int]:
        """How often each tag occurs."""
        return dict(zip(self.names, np.bincount(self.ids, minlength=len(self.names)).tolist(), strict=True))

    def numbered(self, numbers: Mapping[str, int]) -> npt.NDArray[np.int64]:
        """The number of each word's tag, (words,).

        Raises:
            KeyError: a tag has none.
        """
        return np.array([numbers[name] for name in self.names], dtype=np.int64)[self.ids]

    def places(self, tags: Collection[str]) -> Iterator[tuple[str, int, int]]:
        """Tag, row and place in its sentence of every word that has one of `tags`, in their order."""
        wanted = np.array([name in tags for name in self.names], dtype=bool)
        words = np.flatnonzero(wanted[self.ids]) if len(self.ids) else np.empty(0, dtype=np.int64)
        rows = np.searchsorted(self.offsets, words, side="right") - 1
        for word, row in zip(words.tolist(), rows.tolist(), strict=True):
            yield self.names[self.ids[word]], row, word - int(self.offsets[row])

    def to_lists(self) -> list[list[str]]:
        """The tags of each sentence."""
        tags = [self.names[number] for number in self.ids.tolist()]
        borders = self.offsets.tolist()
        return [tags[start:end] for start, end in pairwise(borders)]

    def respelt(self, spellings: Mapping[str, str]) -> pa.ListArray:
        """The same tags in other spellings, as a column of lists."""
        import pyarrow as pa

        spelt = pa.array([spellings[name] for name in self.names], pa.string())
        values = spelt.take(pa.array(self.ids))
        return pa.ListArray.from_arrays(pa.array(self.offsets.astype(np.int32)), values)


def _offsets(lengths: npt.ArrayLike) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))]).astype(np.int64)


def _concatenated(parts: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
