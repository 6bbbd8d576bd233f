"""`finetune export`: the program, its comparison with the model that it was, and a folder that predict.py runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.arguments.model import ModelArguments
from finetune.arguments.parser import Arguments
from finetune.arguments.prediction import PredictArguments
from finetune.data.files import find_paths, iterate_lines
from finetune.encoding.batches import RowPadder, group_by_length
from finetune.errors import DataError, Problem, RunError, UsageError
from finetune.exporting.arguments import ExportArguments
from finetune.exporting.comparing import CLOSE, LOSS, Comparison, cut_padding, find_difference
from finetune.exporting.masked import METRIC, MaskedModel, mask_rows, open_masked
from finetune.exporting.programs import export_model
from finetune.models.checks import resolve_max_length
from finetune.models.exported import (
    MANIFEST,
    ExportedNetwork,
    ExportFacts,
    find_format,
    load_exported,
    require_packages,
)
from finetune.models.families import find_family, find_position_limit
from finetune.models.loading import load_config
from finetune.models.prediction import TorchNetwork
from finetune.models.settings import ClassifierSettings
from finetune.prediction.exported import TOKENIZER_FILE, build_predictor, name_task
from finetune.prediction.origins import find_model_files, find_texts
from finetune.prediction.task import Predictor, open_predictor
from finetune.run.atomic_files import atomic_text_file
from finetune.run.folders_aside import folder_written_aside, temporary_folder
from finetune.run.output_record import OutputRecord
from finetune.tokenization.portable import describe_tokenizer
from finetune.training.collators import TaggingCollator

logger = logging.getLogger(__name__)

REPORT = "export_report.json"
MASKED = "ForMaskedLM"
PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)}
ROWS_OF_A_SAMPLE = 8
GREATER = ("pearson",)  # of a regression's scores: where less is better, half a point means nothing
TEXTS = (  # where no file is given: of several lengths and scripts, to compare floats on
    "Maria flew to Berlin on Monday, and the rain stopped.",
    "Stocks fell 3.5% after the announcement.",
    "What a lovely little film!",
    "He didn't say a word about it, neither then nor later, though everybody in the room was waiting for him to speak.",
    "ฉันรักภาษาไทย",
    "Wir trafen uns in Zürich.",
    "ok",
    "The committee, which had met twice before, adjourned without a decision.",
)


def find_record(arguments: Arguments, folder: Path) -> OutputRecord:
    """The record of an export that lies in `folder`, or is about to.

    Raises:
        DataError: there is no such file of texts, or the model is an adapter whose description cannot be read.
    """
    asked = arguments[ExportArguments]
    texts = find_paths(asked.input_file, flag="--input_file") if asked.input_file is not None else []
    files = [*find_texts(texts), *find_model_files(arguments, Path(asked.output_dir), asked.run)]
    return OutputRecord(folder / REPORT, arguments, files)


def write_record(arguments: Arguments, folder: Path, result: dict[str, Any]) -> None:
    """Record the files of a whole export, by which the same command knows that it is done."""
    files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
    find_record(arguments, folder).write(files, result)


def export_run(
    asked: ExportArguments, before_naming: Callable[[Path, dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Export the model of a folder; what the last line says of it.

    `before_naming` is called with the folder, whole, and the report before the folder gets its name.

    Raises:
        UsageError: a package is missing, or flags do not go together.
        DataError: the folder, the output folder or the file of texts is wrong.
        RunError: the exporter cannot do it, or the exported model computes something else.
    """
    check_request(asked)
    output = Path(asked.output_dir)
    with folder_written_aside(output) as folder:
        comparison = write_program(asked, folder)
        told = {"format": asked.format, "int8": asked.int8, **comparison.as_dict()}
        write_json(folder / REPORT, told)
        if before_naming is not None:
            before_naming(folder, told)
    size = sum(path.stat().st_size for path in output.iterdir() if path.is_file())
    logger.info("%s: %.1f MB.", output, size / 1e6)
    return {"output_dir": str(output), **told}


def check_request(asked: ExportArguments) -> None:
    """Nothing, if what is asked for can be; else all that is wrong."""
    problems: list[Problem] = []
    run, output = Path(asked.run), Path(asked.output_dir)
    if run.is_dir() and find_format(run) is not None:
        problems.append(Problem("this model is exported already", remedy="give the folder that was exported", path=run))
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        remedy = "choose another --output_dir, or remove it"
        problems.append(Problem("the output folder is there and not empty", remedy=remedy, path=output))
    if asked.int8 is not None and asked.input_file is None:
        found = "--int8 is compared by its scores, and there are no texts with answers"
        problems.append(Problem(found, remedy="give the validation data with --input_file"))
    if problems:
        raise UsageError(*problems)
    quantizer = ("nncf",) if asked.int8 and asked.format == "openvino" else ()
    require_packages(*PACKAGES[asked.format], *quantizer, kind=asked.format)


def write_program(asked: ExportArguments, folder: Path) -> Comparison:
    """Program, tokenizer and settings into a folder; how the program compares."""
    model_arguments = ModelArguments(model_name_or_path=asked.run)
    masked = any(name.endswith(MASKED) for name in load_config(model_arguments).architectures or ())
    return (export_masked if masked else export_predictor)(asked, model_arguments, folder)


@dataclass(frozen=True)
class Source:
    """A model that is exported: torch's, its tokenizer, and what it is."""

    task: str  # as in `ExportFacts`
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]

    def describe(self, asked: ExportArguments, inputs: Sequence[str], portable: bool, facts: Any) -> ExportFacts:
        config = self.model.config
        family = find_family(config)
        return ExportFacts(
            format=asked.format,
            task=self.task,
            model_type=config.model_type,
            labels=self.labels,
            longest=resolve_max_length(None, config, self.tokenizer),
            limit=find_position_limit(config),
            inputs=list(inputs),
            int8=asked.int8,
            one_length=family.reads_padding,
            short_formats=family.short_formats,
            tokenizer=facts.as_dict() if portable else None,
        )


def export_predictor(asked: ExportArguments, model_arguments: ModelArguments, folder: Path) -> Comparison:
    """A tagger or a classifier."""
    with texts_file(asked) as path:
        options = PredictArguments(
            input_file=[str(path)],
            text_column_name=asked.text_column_name,
            label_column_name=asked.label_column_name,
            score=asked.int8 is not None,
            device="cpu",
            bf16=False,
            no_unpad=True,
            no_native=True,
        )
        original: Any = open_predictor(model_arguments, options)
        texts = list(islice(original.read(), asked.max_samples))
    task = name_task(original)
    rows = original.prepare(texts).rows
    original.settings.save(folder)
    source = Source(task, original.network.model, original.tokenizer, original.labels)
    network, facts = write_source(source, asked, rows, folder)
    difference = compare_logits(network, original.network, rows)
    if asked.int8 is None:
        return require_close(Comparison(difference, len(texts)))
    exported: Any = build_predictor(network, original.tokenizer, facts, folder, options)
    list(original.tag(texts))
    list(exported.tag(texts))
    return require_scores(compare_scores(original, exported, difference, len(texts)), asked)


def export_masked(asked: ExportArguments, model_arguments: ModelArguments, folder: Path) -> Comparison:
    """A masked language model: its logits of every token, and in eight bits how often it finds masked ones."""
    with texts_file(asked) as path:
        lines = list(islice((line for line in iterate_lines(path) if line.strip()), asked.max_samples))
    masked: MaskedModel = open_masked(model_arguments)
    rows = mask_rows(masked, lines)
    source = Source("masked", masked.model, masked.tokenizer, [])
    network, _ = write_source(source, asked, rows.rows, folder)
    difference = compare_logits(network, masked.network, rows.rows)
    if asked.int8 is None:
        return require_close(Comparison(difference, len(lines)))
    before, after = (rows.score(run_rows(one, rows.rows)) for one in (masked.network, network))
    return require_scores(Comparison(difference, len(lines), METRIC, (before, after)), asked)


def write_source(
    source: Source, asked: ExportArguments, rows: Sequence[dict[str, Any]], folder: Path
) -> tuple[ExportedNetwork, ExportFacts]:
    """Program, tokenizer and manifest in a folder, and the program as predict.py runs it.

    Raises:
        DataError: there are no rows to try it on.
        RunError: the exporter cannot export this model.
    """
    if not rows:
        raise DataError(Problem("the texts hold nothing to compare on", remedy="give others with --input_file"))
    samples = make_samples(source, rows)
    export_model(source.model, samples, asked.format, asked.int8).save_pretrained(str(folder))
    source.tokenizer.save_pretrained(folder)
    described = describe_tokenizer(source.tokenizer)
    if described is None:
        kind = type(source.tokenizer).__name__
        logger.warning("The tokenizer %s has parts in Python: predicting with the export needs transformers.", kind)
    else:
        with atomic_text_file(folder / TOKENIZER_FILE) as file:
            file.write(described[0])
    facts = source.describe(asked, list(samples[0]), described is not None, described and described[1])
    write_json(folder / MANIFEST, facts.as_dict())
    return load_exported(folder, facts, RowPadder.for_tokenizer(source.tokenizer), bf16=False), facts


def make_samples(source: Source, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Batches of the model's inputs: what the exporter traces, and what calibrates eight bits; two rows each at least."""
    collate = TaggingCollator.for_tokenizer(source.tokenizer)
    one_length = find_family(source.model.config).reads_padding
    lengths = [len(row["input_ids"]) for row in rows]
    groups = list(group_by_length(lengths, batch_size=ROWS_OF_A_SAMPLE, tokens=0, one_length=one_length))
    groups = [group for group in groups if len(group) > 1] or [group * 2 for group in groups[:1]]
    return [collate([rows[index] for index in group]) for group in groups]


def compare_logits(found: ExportedNetwork, expected: TorchNetwork, rows: Sequence[dict[str, Any]]) -> float:
    """The greatest difference of logits of the rows."""
    return find_difference(run_rows(found, rows), run_rows(expected, rows))


def run_rows(network: ExportedNetwork | TorchNetwork, rows: Sequence[dict[str, Any]]) -> list[Any]:
    """Logits of the rows' own subwords."""
    logits = network.predict(rows, batch_size=ROWS_OF_A_SAMPLE)
    return cut_padding(logits, [len(row["input_ids"]) for row in rows], network.padding_side)


def require_close(comparison: Comparison) -> Comparison:
    """The comparison of floats.

    Raises:
        RunError: logits are further apart than rounding explains.
    """
    logger.info("Logits of %d texts differ by %.1e at most.", comparison.rows, comparison.difference)
    if not comparison.difference <= CLOSE:  # nan is no small difference
        raise RunError(f"the exported model's logits differ by {comparison.difference:.1e}, more than {CLOSE:.0e}")
    return comparison


def compare_scores(original: Predictor, exported: Predictor, difference: float, rows: int) -> Comparison:
    """The main score of both, by the answers of the texts; of a regression the correlation.

    Raises:
        DataError: the texts have none.
    """
    if not original.scored:
        remedy = "name their column with --label_column_name"
        raise DataError(Problem("the texts of --input_file have no right answers", remedy=remedy))
    before, after = original.score().metrics, exported.score().metrics
    main = next((name for name in GREATER if name in before), next(iter(before)))
    return Comparison(difference, rows, main, (before[main], after[main]))


def require_scores(comparison: Comparison, asked: ExportArguments) -> Comparison:
    """The comparison of scores.

    Raises:
        RunError: too much is lost, and nobody allowed it.
    """
    assert comparison.scores is not None
    before, after = comparison.scores
    logger.info("%s of %d texts: %.4f before, %.4f in eight bits.", comparison.metric, comparison.rows, before, after)
    if not comparison.loss <= LOSS and not asked.allow_loss:
        lost = f"{comparison.metric} falls from {before:.4f} to {after:.4f} on {comparison.rows} texts"
        remedy = "try the other --int8, export floats, or add --allow_loss"
        raise RunError(f"eight bits lose too much: {lost}, and {LOSS * 100:.1f} points are allowed; {remedy}")
    return comparison


def write_json(path: Path, value: dict[str, Any]) -> None:
    with atomic_text_file(path) as file:
        file.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


@contextmanager
def texts_file(asked: ExportArguments) -> Iterator[Path]:
    """The file of texts that was named, or one with a few texts of our own, in pairs where the model reads pairs."""
    if asked.input_file is not None:
        yield Path(asked.input_file)
        return
    with temporary_folder("finetune-export-") as folder:
        path = folder / "texts.txt"
        settings = ClassifierSettings.load(Path(asked.run))
        pairs = [f"{first}\t{second}" for first, second in pairwise(TEXTS)]
        lines = pairs if settings is not None and settings.pairs else TEXTS
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield path
