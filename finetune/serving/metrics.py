"""Counts of the service in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TEXTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


class Histogram:
    """How many values came up to each bound, how many there were, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str) -> Iterator[str]:
        total = 0
        for bound, count in zip((*map("{:g}".format, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self.sum:.6f}"
        yield f"{name}_count {total}"


@dataclass
class Metrics:
    """What the service counts; read and changed by the event loop's thread alone."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)  # (path, status) -> number
    texts: int = 0
    tokens: int = 0
    batches: int = 0
    seconds: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    batch_texts: Histogram = field(default_factory=lambda: Histogram(TEXTS))

    def format(self, waiting_requests: int, waiting_texts: int) -> str:
        lines = [
            *_heading("finetune_requests_total", "counter", "Requests answered, by path and status."),
            *(
                f'finetune_requests_total{{path="{path}",status="{status}"}} {count}'
                for (path, status), count in sorted(self.requests.items())
            ),
            *_single("finetune_texts_total", "counter", "Texts predicted.", self.texts),
            *_single("finetune_tokens_total", "counter", "Subword tokens of the texts predicted.", self.tokens),
            *_single("finetune_batches_total", "counter", "Batches of texts computed together.", self.batches),
            *_single(
                "finetune_requests_waiting", "gauge", "Requests to /predict that are not answered.", waiting_requests
            ),
            *_single("finetune_texts_waiting", "gauge", "Texts in the queue before the model.", waiting_texts),
            *_single("process_resident_memory_bytes", "gauge", "Resident memory in bytes.", resident_bytes()),
            *_heading("finetune_predict_seconds", "histogram", "Time of answered requests to /predict in seconds."),
            *self.seconds.lines("finetune_predict_seconds"),
            *_heading("finetune_batch_texts", "histogram", "Texts in a batch."),
            *self.batch_texts.lines("finetune_batch_texts"),
        ]
        return "\n".join(lines) + "\n"


def _heading(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _single(name: str, kind: str, text: str, value: int) -> tuple[str, ...]:
    return (*_heading(name, kind, text), f"{name} {value}")


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not tell it (outside of Linux)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    line = next((line for line in status.read_text().splitlines() if line.startswith("VmRSS:")), "VmRSS: 0 kB")
    return int(line.split()[1]) * 1024
