"""What the peers' sides share: sentences from a file, turns as standard input asks for them. Standard library only: each
side runs in an environment of its own, without this project."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Sentence = tuple[list[str], list[str]]  # words, tags


def read_options() -> dict[str, Any]:
    """The JSON behind `--worker`."""
    return json.loads(sys.argv[sys.argv.index("--worker") + 1])


def read_sentences(path: str, split: str) -> list[Sentence]:
    return [(words, tags) for words, tags in json.loads(Path(path).read_text(encoding="utf-8"))[split]]


class Turns:
    """Counts the texts of training steps and answers each turn: `warmup` and `go` last some steps."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.left = 0

    def begin(self) -> bool:
        """Wait for the next turn; False where there is none."""
        line = sys.stdin.readline().strip()
        self.left = self.options["warmup" if line == "warmup" else "steps"]
        self.start = time.perf_counter(), time.process_time()
        self.rows = 0
        return bool(line)

    def end_step(self, rows: int) -> bool:
        """After each step; at the end of a turn it answers and waits for the next. False where there is none."""
        self.rows += rows
        self.left -= 1
        if self.left:
            return True
        print(json.dumps(took(self.start) | {"rows": self.rows}), flush=True)
        return self.begin()


def took(start: tuple[float, float]) -> dict[str, float]:
    return {
        "seconds": time.perf_counter() - start[0],
        "cpu_seconds": time.process_time() - start[1],
        "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


def answer_predictions(predict: Callable[[], object]) -> None:
    """Each line of standard input: predict everything once."""
    for _ in sys.stdin:
        start = time.perf_counter(), time.process_time()
        predict()
        print(json.dumps(took(start)), flush=True)


def find_spans(tags: Iterable[str]) -> Iterator[tuple[int, int, str]]:
    """Entities of one sentence as (first word, word behind the last, type), as seqeval reads B- and I- tags."""
    begin, kind, end = 0, "", 0
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, own = tag.partition("-")
        if kind and (prefix != "I" or own != kind):
            yield begin, end, kind
            kind = ""
        if prefix in ("B", "I") and not kind:
            begin, kind = place, own
        end = place + 1


def write_tags(length: int, spans: Iterable[tuple[int, int, str]]) -> list[str]:
    tags = ["O"] * length
    for begin, end, kind in spans:
        tags[begin:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - begin - 1)]
    return tags
