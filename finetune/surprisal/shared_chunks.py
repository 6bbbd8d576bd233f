"""Chunks of scored texts: their sums and rows, also where several processes share the chunks out among themselves."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from finetune.run.sharing import Shares
from finetune.surprisal.inference import ScoredTokens, SurprisalModel
from finetune.surprisal.input import ScoringExample
from finetune.surprisal.surprisal import sentence_surprisals


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
        """A line of JSON, then the rows as Arrow writes them to a stream."""
        facts = {"totals": astuple(self.totals), "counts": counts}
        return json.dumps(facts).encode() + b"\n" + (b"" if self.rows is None else encode_rows(self.rows))

    @classmethod
    def decode(cls, content: bytes) -> tuple[ScoredChunk, Counter[str]]:
        facts, _, rows = content.partition(b"\n")
        told = json.loads(facts)
        return cls(Totals(*told["totals"]), decode_rows(rows) if rows else None), Counter(told["counts"])


Work = Callable[[Iterator[list[ScoringExample]]], Iterator[ScoredChunk]]


def gather_chunks(
    shares: Shares, chunks: Iterator[list[ScoringExample]], work: Work, model: SurprisalModel
) -> Iterator[ScoredChunk]:
    """`work(chunks)` of all processes in the first of them, and nothing in the others; `model.counts` are those of all."""
    counts = model.counts.copy()

    def encoded(own: Iterator[list[ScoringExample]]) -> Iterator[bytes]:
        for part in work(own):
            yield part.encode(model.counts - counts)
            model.counts = counts.copy()

    total = counts.copy()
    for content in shares.work_on(chunks, encoded):
        part, counted = ScoredChunk.decode(content)
        total += counted
        yield part
    model.counts = total


def encode_rows(rows: pa.Table) -> bytes:
    """A table as Arrow writes it to a stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return bytes(sink.getvalue())


def decode_rows(content: bytes) -> pa.Table:
    """The table of `encode_rows`."""
    return pa.ipc.open_stream(content).read_all()
