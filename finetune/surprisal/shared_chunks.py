"""Chunks of scored texts: their sums and rows, also where several processes share the chunks out among themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from finetune.run.engines import Engine, Needs
from finetune.surprisal.inference import ScoredTokens, SurprisalModel
from finetune.surprisal.input import ScoringExample
from finetune.surprisal.surprisal import sentence_surprisals
from finetune.surprisal.tables_as_bytes import decode_tables, encode_tables


@dataclass
class Totals:
    """Sums over all texts, for the last line."""

    texts: int = 0
    tokens: int = 0
    surprisal: float = 0.0

    @classmethod
    def of(cls, scored: ScoredTokens) -> Totals:
        sentences = sentence_surprisals(scored.surprisal, scored.offsets)
        return cls(len(sentences.tokens), int(sentences.tokens.sum()), float(sentences.surprisal.sum()))

    def add(self, more: Totals) -> None:
        self.texts += more.texts
        self.tokens += more.tokens
        self.surprisal += more.surprisal

    def metrics(self) -> dict[str, Any]:
        mean = self.surprisal / self.tokens if self.tokens else float("nan")
        return {"texts": self.texts, "tokens": self.tokens, "mean_surprisal": mean, "perplexity": float(np.exp2(mean))}


@dataclass
class ScoredChunk:
    """What becomes of a chunk: its sums, and its rows where they are asked for."""

    totals: Totals
    rows: pa.Table | None

    def encode(self, counts: Counter[str]) -> bytes:
        return encode_tables(
            {"totals": astuple(self.totals), "counts": counts}, [] if self.rows is None else [self.rows]
        )

    @classmethod
    def decode(cls, content: bytes) -> tuple[ScoredChunk, Counter[str]]:
        told, tables = decode_tables(content)
        return cls(Totals(*told["totals"]), next(iter(tables), None)), Counter(told["counts"])


Work = Callable[[Iterator[list[ScoringExample]]], Iterator[ScoredChunk]]


@dataclass(frozen=True)
class ScoringJob:
    """Chunks of texts -> their sums and rows as bytes. Pickled it is what `reopen` makes it of, the model anew.

    `work` counts in `model.counts` what `tell_counts` says at the end; each message holds what its chunk added.
    """

    chunks: Callable[[], Iterator[list[ScoringExample]]]
    work_on: Work
    model: SurprisalModel
    reopen: tuple[Callable[..., ScoringJob], tuple[Any, ...]]

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reopen

    def read(self) -> Iterator[list[ScoringExample]]:
        return self.chunks()

    def work(self, items: Iterator[list[ScoringExample]]) -> Iterator[bytes]:
        counts = self.model.counts.copy()
        for part in self.work_on(items):
            yield part.encode(self.model.counts - counts)
            self.model.counts = counts.copy()


def gather_chunks(shares: Engine, job: ScoringJob, needs: Needs) -> Iterator[ScoredChunk]:
    """What all processes make of the chunks, in the first of them, and nothing in the others; its model counts for all."""
    total = job.model.counts.copy()
    for content in shares.work_on(job, needs):
        part, counted = ScoredChunk.decode(content)
        total += counted
        yield part
    job.model.counts = total
