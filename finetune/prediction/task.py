"""A trained model over a stream of texts: which kind of model it is, chunk by chunk, results written as they come."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.arguments.prediction import PredictArguments
from finetune.classification.prediction import HEAD
from finetune.data.files import find_paths
from finetune.data.prediction_input import InputText, in_chunks
from finetune.errors import DataError, Problem, UsageError
from finetune.models.exported import find_format as find_export
from finetune.models.exported import is_installed
from finetune.prediction.chunks import (
    LARGE_CHUNK,
    Predictor,
    compute_chunks,
    compute_told,
    find_format,
    read_array,
    spell_array,
)
from finetune.prediction.origins import find_model_files, find_texts
from finetune.run.atomic_files import atomic_text_file
from finetune.run.engines import Engine, Needs, kept_beside
from finetune.run.launcher import is_main_process
from finetune.run.output_record import OutputRecord
from finetune.run.sharing import open_shares

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10


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
    held = find_export(folder) or "torch"
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
    predictor: Predictor, model: ModelArguments, options: PredictArguments, record: OutputRecord | None = None
) -> dict[str, Any]:
    """Predict every input text; returns how many there were, for the last line."""
    result: dict[str, Any] = {}
    write_record = None if record is None else lambda path: record.write({record.output.name: path}, result)
    with open_shares(Path(options.output_file) if options.output_file else None) as shares:
        needs = find_needs(options, record)
        if shares is None:
            told = compute_told(predictor, options)
        else:
            told = compute_shared(predictor, model, options, shares, needs)
        if not is_main_process():
            deque(told, maxlen=0)
            return result
        with open_output(options.output_file, write_record) as file:
            result |= predict_into(file, predictor, options, told)
        needs.forget()
    return result


def predict_into(
    file: IO[str], predictor: Predictor, options: PredictArguments, told: Iterator[tuple[int, Iterator[str]]]
) -> dict[str, Any]:
    """Every result as soon as it is known; what is said of all of them at the end is returned."""
    start = said = time.monotonic()
    count = 0
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


def compute_shared(
    predictor: Predictor, model: ModelArguments, options: PredictArguments, shares: Engine, needs: Needs
) -> Iterator[tuple[int, Iterator[str]]]:
    """The same where other processes compute chunks, too, or all of them; nothing in a process that hands its share on."""
    scored: list[Any] = []
    abstained = 0
    for result in shares.work_on(PredictionJob(predictor, model, options), needs):
        size, text, of_chunk, left_out = json.loads(result, object_hook=read_array)
        scored += of_chunk
        abstained += left_out
        yield size, iter([text])
    predictor.scored, predictor.abstained = scored, abstained


class PredictionJob:
    """Chunks of texts -> what is written of each, and what its score needs. Unpickled it has loaded the model anew."""

    def __init__(self, predictor: Predictor, model: ModelArguments, options: PredictArguments) -> None:
        self.predictor, self.model, self.options = predictor, model, options

    def __reduce__(self) -> tuple[Any, ...]:
        return open_job, (self.model, replace(self.options, output_file=None))

    def read(self) -> Iterator[list[InputText]]:
        return in_chunks(self.predictor.read(), LARGE_CHUNK)

    def work(self, chunks: Iterator[list[InputText]]) -> Iterator[bytes]:
        """One message for each chunk."""
        write, predictor = find_format(self.options), self.predictor
        for size, computed in compute_chunks(predictor, chunks, ahead=True):
            text = "".join(map(write, predictor.tell(computed)))
            yield json.dumps([size, text, predictor.scored, predictor.abstained], default=spell_array).encode()
            predictor.scored, predictor.abstained = [], 0


def open_job(model: ModelArguments, options: PredictArguments) -> PredictionJob:
    return PredictionJob(open_predictor(model, options), model, options)


def find_needs(options: PredictArguments, record: OutputRecord | None) -> Needs:
    """What predicting takes elsewhere; finished chunks wait beside the output file."""
    if record is None:
        return Needs([path for name in options.input_file or () for path in find_paths(name)], accelerated=True)
    kept = kept_beside(record.output)
    return Needs(record.inputs, accelerated=True, kept=kept, key=record.describe_work)


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


@contextmanager
def open_output(name: str | None, before_naming: Callable[[Path], None] | None = None) -> Iterator[IO[str]]:
    """Standard output, or a file that appears under its name only once it is whole."""
    if name is None:
        yield sys.stdout
        return
    with atomic_text_file(Path(name), before_naming=before_naming) as file:
        yield file
