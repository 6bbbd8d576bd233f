"""Texts of requests that came at about the same time go through the model together, by one thread."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from finetune.data.prediction_input import InputText
from finetune.serving.metrics import Metrics

logger = logging.getLogger(__name__)

Predict = Callable[[list[InputText]], list[dict[str, Any]]]
LONGEST_ADVICE = 60  # seconds after which to come again


@dataclass(frozen=True)
class Waiting:
    """One text on its way, and who waits for its answer."""

    text: InputText
    tokens: int
    answer: asyncio.Future[dict[str, Any]]


class Batcher:
    """A queue of texts before one model.

    While a batch is computed further texts gather; the next batch takes the oldest of them up to `batch_tokens` subword
    tokens, one at least. Which texts share a batch changes no answer (`models/inference.py`). A text that nobody waits for
    any more is passed over. Where a batch fails its texts are computed one by one, so that a single one fails alone.
    """

    def __init__(self, predict: Predict, *, batch_tokens: int, metrics: Metrics) -> None:
        self.predict, self.batch_tokens, self.metrics = predict, batch_tokens, metrics
        self.waiting: deque[Waiting] = deque()
        self.arrived = asyncio.Event()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self.tokens_per_second = 0.0

    async def answer(self, texts: Sequence[InputText], tokens: Sequence[int]) -> list[dict[str, Any]]:
        """Predictions of the texts of one request, in their order; cancelled, it takes its texts out."""
        loop = asyncio.get_running_loop()
        entries = [Waiting(text, count, loop.create_future()) for text, count in zip(texts, tokens, strict=True)]
        self.waiting.extend(entries)
        self.arrived.set()
        return list(await asyncio.gather(*(entry.answer for entry in entries)))

    def seconds_of_queue(self) -> int:
        """When to come again: the time that what waits now will take, as the last batches went."""
        tokens = sum(entry.tokens for entry in self.waiting)
        return min(LONGEST_ADVICE, max(1, math.ceil(tokens / self.tokens_per_second))) if self.tokens_per_second else 1

    async def run(self) -> None:
        """Compute batch after batch, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self.arrived.wait()
            batch = self._gather()
            if not batch:
                self.arrived.clear()
                continue
            start = time.monotonic()
            answers = await loop.run_in_executor(self.thread, self._compute, [entry.text for entry in batch])
            self._count(batch, time.monotonic() - start)
            for entry, answer in zip(batch, answers, strict=True):
                give(entry.answer, answer)

    def close(self) -> None:
        self.thread.shutdown(wait=True, cancel_futures=True)

    def _gather(self) -> list[Waiting]:
        batch: list[Waiting] = []
        room = self.batch_tokens
        while self.waiting and (not batch or self.waiting[0].tokens <= room):
            entry = self.waiting.popleft()
            if not entry.answer.done():
                batch.append(entry)
                room -= entry.tokens
        return batch

    def _compute(self, texts: list[InputText]) -> list[dict[str, Any] | Exception]:
        try:
            return list(self.predict(texts))
        except Exception as error:
            if len(texts) == 1:
                logger.exception("A text could not be predicted.")
                return [error]
        return [answer for text in texts for answer in self._compute([text])]

    def _count(self, batch: list[Waiting], seconds: float) -> None:
        tokens = sum(entry.tokens for entry in batch)
        rate = tokens / max(seconds, 1e-6)
        self.tokens_per_second = 0.8 * self.tokens_per_second + 0.2 * rate if self.tokens_per_second else rate
        self.metrics.texts += len(batch)
        self.metrics.tokens += tokens
        self.metrics.batches += 1
        self.metrics.batch_texts.observe(len(batch))


def give(future: asyncio.Future[dict[str, Any]], answer: dict[str, Any] | Exception) -> None:
    """An answer to whoever still waits for it."""
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
