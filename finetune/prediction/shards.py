"""Many files of texts -> as many files of results: each whole or absent, none predicted twice by the same command."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.arguments.prediction import PredictArguments
from finetune.data.files import find_paths, missing_file
from finetune.errors import DataError, Problem, ProblemList, UsageError
from finetune.prediction.origins import find_model_files, find_texts
from finetune.prediction.task import open_predictor, predict_stream, require_free_output
from finetune.run.engines import Needs, find_engine
from finetune.run.output_record import OutputRecord

logger = logging.getLogger(__name__)

NOT_OF_A_SHARD = ("input_file",)  # which other files there are changes nothing of a shard


@dataclass(frozen=True)
class Shard:
    """A file of texts, the file of its results, and the record beside that."""

    source: Path
    record: OutputRecord

    @property
    def output(self) -> Path:
        return self.record.output


def predict_shards(arguments: Arguments) -> dict[str, Any]:
    """Predict what is not there yet; how much there was, for the last line.

    Raises:
        UsageError: flags do not go together.
        DataError: input is missing, two inputs have one name, or what is in the folder is of another command.
    """
    options = arguments[PredictArguments]
    if options.score:
        found = "--score is for one output, and --output_dir has one for each input file"
        raise UsageError(Problem(found, remedy="drop it, or use --output_file"))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        found = "several processes were started, and --output_dir takes one file after the other in one"
        raise UsageError(Problem(found, remedy="start one, or use --output_file"))
    shards = list_shards(arguments)
    waiting = [shard for shard in shards if options.overwrite_output_file or not shard.record.is_finished()]
    require_ours(waiting, overwrite=options.overwrite_output_file)
    told = {"files": len(shards), "already_done": len(shards) - len(waiting), "texts": 0}
    for number, result in enumerate(_predict_all(arguments, waiting), start=1):
        for name in ("texts", "abstained"):
            if name in result:
                told[name] = told.get(name, 0) + result[name]
        logger.info("%d of %d files are done.", number, len(waiting))
    return told


def _predict_all(arguments: Arguments, waiting: Sequence[Shard]) -> Iterator[dict[str, Any]]:
    """What is said of each shard, when its results are there."""
    if not waiting:
        return iter(())
    if (engine := find_engine()) is None:
        job = open_job(arguments, waiting)
        return job.work(job.read())
    files = dict.fromkeys(path for shard in waiting for path in shard.record.inputs)
    folder = Path(arguments[PredictArguments].output_dir or "")
    folder.mkdir(parents=True, exist_ok=True)
    return engine.work_on(ShardsJob(arguments, waiting), Needs([*files, folder], accelerated=True))


class ShardsJob:
    """Files of texts -> files of results, written where this is done. Unpickled it has loaded the model."""

    def __init__(self, arguments: Arguments, shards: Sequence[Shard], predictor: Any = None) -> None:
        self.arguments, self.shards, self.predictor = arguments, shards, predictor

    def __reduce__(self) -> tuple[Any, ...]:
        return open_job, (self.arguments, self.shards)

    def read(self) -> Iterator[Shard]:
        return iter(self.shards)

    def work(self, shards: Iterator[Shard]) -> Iterator[dict[str, Any]]:
        """What is said of each shard."""
        options, predictor = self.arguments[PredictArguments], self.predictor
        for shard in shards:
            own = replace(options, input_file=[str(shard.source)], output_file=str(shard.output))
            predictor.arguments, predictor.abstained = own, 0
            result = predict_stream(predictor, self.arguments[ModelArguments], own, shard.record)
            logger.info("%s is done.", shard.output)
            yield result


def open_job(arguments: Arguments, shards: Sequence[Shard]) -> ShardsJob:
    """The job with a model."""
    options = replace(arguments[PredictArguments], output_file=None)
    return ShardsJob(arguments, shards, open_predictor(arguments[ModelArguments], options))


def list_shards(arguments: Arguments) -> list[Shard]:
    """The files of folders, patterns and names in their order.

    Raises:
        DataError: something is not there, or two files would have one output.
    """
    options = arguments[PredictArguments]
    output, suffix = Path(options.output_dir or ""), ".conll" if options.output_format == "conll" else ".jsonl"
    problems, named = ProblemList(), dict[Path, Path]()
    of_model = find_model_files(arguments, output, arguments[ModelArguments].model_name_or_path or "")
    for pattern in options.input_file or ():
        for source, name in problems.attempt(find_sources, pattern, output) or ():
            place = output / f"{name}{suffix}"
            if named.setdefault(place, source).resolve() != source.resolve():
                found = f"its results would have the name of those of {named[place]}, {place}"
                problems.extend([Problem(found, remedy="predict them into folders of their own", path=source)])
    problems.raise_any()
    return [
        Shard(source, OutputRecord(place, arguments, [*find_texts([source]), *of_model], ignored=NOT_OF_A_SHARD))
        for place, source in named.items()
    ]


def find_sources(pattern: str, output: Path) -> list[tuple[Path, Path]]:
    """Files with the names that their results have: of a folder all below it, hidden ones and our own results left out.

    Raises:
        DataError: nothing is there.
    """
    folder = Path(pattern).expanduser()
    if not folder.is_dir():
        return [(path, Path(path.name)) for path in find_paths(pattern, flag="--input_file")]
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    below = [(path, path.relative_to(folder)) for path in found if output.resolve() not in path.resolve().parents]
    shown = [(path, name) for path, name in below if not any(part.startswith(".") for part in name.parts)]
    if not shown:
        raise DataError(replace(missing_file(folder / "*", flag="--input_file"), found="the folder holds no file"))
    return shown


def require_ours(shards: list[Shard], *, overwrite: bool) -> None:
    """Raises:
    DataError: outputs that are there and not of this command; all of them.
    """
    problems = ProblemList()
    for shard in shards:
        problems.attempt(require_free_output, shard.output, overwrite or shard.record.is_ours())
    problems.raise_any()
