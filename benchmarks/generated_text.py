"""Distinct English-like text of any size for benchmarks: words of WikiText by Zipf's law, sentences, documents; seeded."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
from measure import DATA

WORDS = 40_000
ZIPF_SHIFT = 2.7  # Mandelbrot's correction: English word frequencies fall as 1 / (rank + 2.7)
SENTENCES_AT_ONCE = 20_000


def read_vocabulary() -> np.ndarray:
    """The most frequent words of WikiText-2, most frequent first."""
    text = gzip.decompress((DATA / "lm/wikitext-2/train.first18000.txt.gz").read_bytes()).decode("utf-8")
    counts = Counter(word for word in text.split() if word not in ("<unk>", "="))
    return np.array([word for word, _ in counts.most_common(WORDS)], dtype=object)


def write_text(path: Path, megabytes: float, *, seed: int = 0) -> Path:
    """Write about so many megabytes: one sentence a line, an empty line behind each document. Kept if it is there."""
    if path.is_file():
        return path
    rng = np.random.default_rng(seed)
    words = read_vocabulary()
    cumulative = np.cumsum(1 / (np.arange(len(words)) + ZIPF_SHIFT))
    cumulative /= cumulative[-1]
    aside = path.with_suffix(".partial")
    with aside.open("w", encoding="utf-8") as stream:
        while stream.tell() < megabytes * 1e6:
            lengths = rng.integers(6, 30, size=SENTENCES_AT_ONCE)
            drawn = words[np.searchsorted(cumulative, rng.random(lengths.sum()))]
            ends = rng.random(SENTENCES_AT_ONCE) < 1 / 20
            start = 0
            for length, ends_document in zip(lengths.tolist(), ends.tolist(), strict=True):
                stream.write(" ".join(drawn[start : start + length]) + (" .\n\n" if ends_document else " .\n"))
                start += length
                if stream.tell() >= megabytes * 1e6:
                    break
    aside.rename(path)
    return path
