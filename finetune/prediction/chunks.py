"""Texts chunk by chunk through a trained model of any task, and what is written of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from finetune.arguments.prediction import PredictArguments
from finetune.data.prediction_input import InputText, PredictionScore, in_chunks
from finetune.run.ahead import gather, read_ahead
from finetune.tagging.prediction import format_conll

CHUNK, LARGE_CHUNK = 1000, 2000  # texts of standard input, of files: enough to batch by length, little to hold
LONGEST_WAIT = 0.02  # seconds that a text of standard input waits for others


class Predictor(Protocol):
    """A trained model of any task."""

    scored: list[Any]  # what --score keeps of each text that has a gold answer
    abstained: int  # answers that --abstain_below left out

    def read(self) -> Iterator[InputText]:
        """What is to be predicted."""

    def prepare(self, texts: Sequence[InputText]) -> Any:
        """Texts as ids."""

    def compute(self, prepared: Any) -> Any:
        """What the model says of them."""

    def tell(self, computed: Any) -> Iterator[dict[str, Any]]:
        """One result for each text, in their order."""

    def score(self) -> PredictionScore:
        """The predictions against the answers of the input, after the last text."""


def find_format(options: PredictArguments) -> Callable[[dict[str, Any]], str]:
    """What writes a result."""
    return format_conll if options.output_format == "conll" else format_json


def compute_told(predictor: Predictor, options: PredictArguments) -> Iterator[tuple[int, Iterator[str]]]:
    """How many texts a chunk has, and what is written of each."""
    write = find_format(options)
    ahead = options.input_file is not None
    texts = predictor.read()
    chunks = in_chunks(texts, LARGE_CHUNK) if ahead else gather(texts, size=CHUNK, seconds=LONGEST_WAIT)
    for size, computed in compute_chunks(predictor, chunks, ahead=ahead):
        yield size, map(write, predictor.tell(computed))


def spell_array(value: Any) -> Any:
    """Numbers of numpy for JSON, which gives each back as it was."""
    if isinstance(value, np.ndarray | np.generic):
        return {"numbers": value.tolist(), "dtype": str(value.dtype)}
    raise TypeError(f"{type(value).__name__} cannot be handed on between processes")


def read_array(value: dict[str, Any]) -> Any:
    return np.array(value["numbers"], value["dtype"])[()] if set(value) == {"numbers", "dtype"} else value


def compute_chunks(
    predictor: Predictor, chunks: Iterator[list[InputText]], *, ahead: bool
) -> Iterator[tuple[int, Any]]:
    """How many texts a chunk has, and what the model says of them.

    ahead: while a chunk's results are written the next one is computed, and the one behind it becomes ids, each by a thread
    of its own. Not for standard input: whoever sends a text at a time waits for its answer.
    """
    prepared = ((len(chunk), predictor.prepare(chunk)) for chunk in chunks)
    if not ahead:
        yield from ((size, predictor.compute(ids)) for size, ids in prepared)
        return
    yield from read_ahead((size, predictor.compute(ids)) for size, ids in read_ahead(prepared))


def format_json(result: dict[str, Any]) -> str:
    return json.dumps(result, ensure_ascii=False) + "\n"
