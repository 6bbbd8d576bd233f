"""Ids of a word-level tokenizer without the Rust library: text -> stretches between spaces -> their remembered ids.

For plain ids a dictionary of stretches is over ten times faster than cutting aligned strings in Rust. It gives the same
ids (the tests compare both on every line of the real data), so `ThaiWordsTokenizer` uses it wherever a caller asks for
ids and masks only, and the Rust library for offsets, pairs, windows, padding and the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from tokenizers import Encoding, Tokenizer
from transformers import BatchEncoding

from finetune.tokenization.segmentation import Segmenter
from finetune.tokenization.vocabulary import SPACE

STRETCHES_AT_MOST = 500_000


class StretchIds(dict[str, tuple[int, ...]]):
    """Stretch of text -> ids of its segments, found when first asked for; added tokens are in it from the start."""

    def __init__(self, vocabulary: dict[str, int], unknown: int, segmenter: Segmenter, added: dict[str, int]) -> None:
        super().__init__()
        self.vocabulary, self.unknown, self.segmenter = vocabulary, unknown, segmenter
        self.added = {token: (index,) for token, index in added.items()}
        self._forget()

    def __missing__(self, stretch: str) -> tuple[int, ...]:
        if len(self) >= STRETCHES_AT_MOST:
            self._forget()
        find, unknown = self.vocabulary.get, self.unknown
        ids = self[stretch] = tuple(find(segment, unknown) for segment in self.segmenter.cut(stretch))
        return ids

    def _forget(self) -> None:
        self.clear()
        self.update(self.added)
        self[""] = ()


class IdLookup:
    """Text -> ids, as the Rust tokenizer that it is made from gives them."""

    def __init__(self, backend: Tokenizer, segmenter: Segmenter, unknown: int) -> None:
        added = backend.get_added_tokens_decoder()
        self.in_text = _alternatives(token.content for token in added.values() if not token.normalized)
        self.in_cleaned = _alternatives(
            token.content.replace(" ", SPACE) for token in added.values() if token.normalized
        )
        by_content = {token.content.replace(" ", SPACE): index for index, token in added.items()}
        self.ids = StretchIds(backend.get_vocab(with_added_tokens=False), unknown, segmenter, by_content)
        self.is_exact = not any(token.lstrip or token.rstrip or token.single_word for token in added.values())

    def encode(self, text: str) -> list[int]:
        """Ids without special tokens."""
        if self.in_text.search(text) is None:
            return list(chain.from_iterable(self._stretches(text)))
        parts = self.in_text.split(text)  # every second one is a special token
        rows = (self._stretches(part) if number % 2 == 0 else [self.ids[part]] for number, part in enumerate(parts))
        return list(chain.from_iterable(chain.from_iterable(rows)))

    def _stretches(self, text: str) -> list[tuple[int, ...]]:
        find = self.ids.__getitem__
        return list(map(find, self.in_cleaned.split(text.replace(" ", SPACE))))


def _alternatives(tokens: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds the leftmost and there the longest, as the Rust library does; one group, for `split`."""
    return re.compile("(" + "|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) + ")")


class LazyEncodings(BatchEncoding):
    """Ids found by look-up; offsets and word ids come from the Rust library once somebody asks for them."""

    def __init__(self, data: dict[str, Any], encode: Callable[[], Sequence[Encoding] | None]) -> None:
        self._encode = encode
        self._encoded: Sequence[Encoding] | None = None
        super().__init__(data, n_sequences=1)

    @property
    def _encodings(self) -> Sequence[Encoding] | None:  # type: ignore[override]
        if self._encoded is None:
            self._encoded = self._encode()
        return self._encoded

    @_encodings.setter
    def _encodings(self, encodings: Sequence[Encoding] | None) -> None:
        self._encoded = encodings

    @property
    def is_fast(self) -> bool:
        return True
