"""A trained model over a stream of texts: which kind of model it is, chunk by chunk, results written as they come."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.arguments.prediction import PredictArguments
from finetune.classification.prediction import HEAD
from finetune.data.files import find_paths
from finetune.data.prediction_input import InputText, PredictionScore, in_chunks
from finetune.errors import DataError, Problem, UsageError
from finetune.models.exported import find_format, is_installed
from finetune.prediction.origins import find_model_files, find_texts
from finetune.run.ahead import gather, read_ahead
from finetune.run.atomic_files import atomic_text_file
from finetune.run.output_record import OutputRecord
from finetune.run.sharing import Shares, open_shares
from finetune.tagging.prediction import format_conll

logger = logging.getLogger(__name__)

CHUNK, LARGE_CHUNK = 1000, 2000  # texts of standard input, of files: enough to batch by length, little to hold
LONGEST_WAIT = 0.02  # seconds that a text of standard input waits for others
SECONDS_BETWEEN_LINES = 10


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


def find_record(arguments: Arguments) -> OutputRecord | None:
    """The record beside the output file; None where there is no such file, or input that cannot be read twice.

    Raises:
        DataError: there is no such input, or the model is an adapter whose description cannot be read.
    """
    options = arguments[PredictArguments]
    output = Path(options.output_file or os.devnull)
    if not options.input_file or not (output.is_file() or not output.exists()):
        return None
    texts = [path for pattern in options.input_file for path in find_paths(pattern, flag="--input_file")]
    model = arguments[ModelArguments].model_name_or_path or ""
    return OutputRecord(output, arguments, [*find_texts(texts), *find_model_files(arguments, output, model)])


def open_predictor(model: ModelArguments, options: PredictArguments, record: OutputRecord | None = None) -> Predictor:
    """Load the model after its output file is known to be free, or to be what this command left when it was killed.

    Raises:
        DataError: the file is there, or the model cannot be used.
    """
    if options.output_file is not None:
        is_ours = record is not None and record.is_ours()
        require_free_output(Path(options.output_file), options.overwrite_output_file or is_ours)
    folder = Path(model.model_name_or_path)
    if resolve_backend(options.backend, folder) == "torch":
        return open_torch(model, options)
    from finetune.prediction.exported import open_exported

    return open_exported(folder, options)


def open_torch(model: ModelArguments, options: PredictArguments) -> Predictor:
    """A tagger or a classifier with its torch model.

    Raises:
        UsageError: torch is not installed.
        DataError: the model cannot be used.
    """
    if not is_installed("torch"):
        found = "torch is not installed, and this folder holds a model of torch"
        raise UsageError(Problem(found, remedy="install torch, or give a folder that finetune export wrote"))
    from finetune.classification.opening import open_classifier
    from finetune.models.loading import load_config
    from finetune.tagging.opening import open_tagger

    architectures = load_config(model).architectures or ()
    return (open_classifier if any(name.endswith(HEAD) for name in architectures) else open_tagger)(model, options)


def resolve_backend(asked: str, folder: Path) -> str:
    """`torch`, `onnx` or `openvino`: what the folder holds.

    Raises:
        UsageError: another was asked for.
        DataError: the folder is a broken export.
    """
    held = find_format(folder) or "torch"
    if asked in ("auto", held):
        return held
    if held == "torch":
        remedy = f"finetune export {folder} --output_dir NEW_FOLDER --format {asked} makes one"
        raise UsageError(Problem(f"--backend {asked}: this folder holds no exported model", remedy=remedy, path=folder))
    found = f"--backend {asked}: this folder holds a model that was exported to {held}"
    raise UsageError(Problem(found, remedy="drop --backend, or give the folder of that kind", path=folder))


def require_free_output(path: Path, overwrite: bool) -> None:
    """Whether a file can come to be there, told before anything is predicted.

    Raises:
        DataError: there is one already, or what is there is no folder, or is one.
    """
    blocking = next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), None)
    if blocking is not None:
        raise DataError(Problem("this is a file, not a folder", remedy="choose another --output_file", path=blocking))
    if path.is_dir():
        raise DataError(Problem("this is a folder", remedy="name a file in it as --output_file", path=path))
    if path.exists() and not overwrite:
        remedy = "choose another --output_file, or add --overwrite_output_file"
        raise DataError(Problem("the output file exists", remedy=remedy, path=path))


def predict_stream(
    predictor: Predictor, options: PredictArguments, record: OutputRecord | None = None
) -> dict[str, Any]:
    """Predict every input text; returns how many there were, for the last line."""
    result: dict[str, Any] = {}
    write_record = None if record is None else lambda path: record.write({record.output.name: path}, result)
    with open_shares(Path(options.output_file) if options.output_file else None) as shares:
        if shares is not None and shares.rank > 0:
            deque(compute_shared(predictor, options, shares), maxlen=0)
            return result
        with open_output(options.output_file, write_record) as file:
            result |= predict_into(file, predictor, options, shares)
    return result


def predict_into(
    file: IO[str], predictor: Predictor, options: PredictArguments, shares: Shares | None = None
) -> dict[str, Any]:
    """Every result as soon as it is known; what is said of all of them at the end is returned."""
    start = said = time.monotonic()
    count = 0
    told = compute_shared(predictor, options, shares) if shares else compute_told(predictor, options)
    for size, texts in told:
        for text in texts:
            file.write(text)
        file.flush()
        count += size
        if time.monotonic() - said > SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            logger.info("%d texts, %.0f a second.", count, count / (said - start))
    seconds = time.monotonic() - start
    logger.info("%d texts predicted in %.1f seconds.", count, seconds)
    scores = tell_score(predictor, options, count) if options.score else {}
    left_out = {} if options.abstain_below is None else {"abstained": predictor.abstained}
    if predictor.abstained:
        least = options.abstain_below
        logger.info(
            "%d answers are less probable than --abstain_below %g; they are left out.", predictor.abstained, least
        )
    return {"texts": count, "texts_per_second": round(count / seconds, 1) if count else 0.0, **left_out, **scores}


def compute_told(predictor: Predictor, options: PredictArguments) -> Iterator[tuple[int, Iterator[str]]]:
    """How many texts a chunk has, and what is written of each."""
    write = format_conll if options.output_format == "conll" else format_json
    ahead = options.input_file is not None
    texts = predictor.read()
    chunks = in_chunks(texts, LARGE_CHUNK) if ahead else gather(texts, size=CHUNK, seconds=LONGEST_WAIT)
    for size, computed in compute_chunks(predictor, chunks, ahead=ahead):
        yield size, map(write, predictor.tell(computed))


def compute_shared(
    predictor: Predictor, options: PredictArguments, shares: Shares
) -> Iterator[tuple[int, Iterator[str]]]:
    """The same in the first of several processes, each of which computes its share of the chunks."""
    write = format_conll if options.output_format == "conll" else format_json

    def work(chunks: Iterator[list[InputText]]) -> Iterator[bytes]:
        for size, computed in compute_chunks(predictor, chunks, ahead=True):
            text = "".join(map(write, predictor.tell(computed)))
            yield json.dumps([size, text, predictor.scored, predictor.abstained], default=spell_array).encode()
            predictor.scored, predictor.abstained = [], 0

    scored: list[Any] = []
    abstained = 0
    for result in shares.work_on(in_chunks(predictor.read(), LARGE_CHUNK), work):
        size, text, of_chunk, left_out = json.loads(result, object_hook=read_array)
        scored += of_chunk
        abstained += left_out
        yield size, iter([text])
    predictor.scored, predictor.abstained = scored, abstained


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


def tell_score(predictor: Predictor, options: PredictArguments, count: int) -> dict[str, Any]:
    """Show the report: where results have a file of their own on standard output, else in the log.

    Raises:
        DataError: nothing in the input could be scored.
    """
    scored = len(predictor.scored)
    if not scored:
        remedy = "name their column with --label_column_name, or drop --score"
        raise DataError(Problem("--score is given, and the input holds no right answers", remedy=remedy))
    if scored < count:
        logger.warning("%d of %d texts have no right answer and were not scored.", count - scored, count)
    score = predictor.score()
    if options.output_file:
        print(score.report)
    else:
        logger.info("%s", score.report)
    return {"scored": scored, "input": score.metrics}


def format_json(result: dict[str, Any]) -> str:
    return json.dumps(result, ensure_ascii=False) + "\n"


@contextmanager
def open_output(name: str | None, before_naming: Callable[[Path], None] | None = None) -> Iterator[IO[str]]:
    """Standard output, or a file that appears under its name only once it is whole."""
    if name is None:
        yield sys.stdout
        return
    with atomic_text_file(Path(name), before_naming=before_naming) as file:
        yield file
