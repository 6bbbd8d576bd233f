"""`finetune export`: the program, its comparison with the model that it was, and a folder that predict.py runs."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForMaskedLM, PreTrainedModel

from finetune.arguments.model import ModelArguments
from finetune.arguments.prediction import PredictArguments
from finetune.errors import DataError, Problem, RunError, UsageError
from finetune.exporting.arguments import ExportArguments
from finetune.exporting.comparing import CLOSE, LOSS, Batch, Comparison, find_difference, recorded
from finetune.exporting.programs import export_model
from finetune.models.checks import resolve_max_length
from finetune.models.exported import find_format, require_packages, run_program
from finetune.models.loading import load_config
from finetune.models.settings import FILE as SETTINGS
from finetune.prediction.task import Predictor, open_predictor
from finetune.run.atomic_files import atomic_text_file
from finetune.tokenization.loading import load_tokenizer

logger = logging.getLogger(__name__)

REPORT = "export_report.json"
MASKED = "ForMaskedLM"
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


def export_run(asked: ExportArguments) -> dict[str, Any]:
    """Export the model of a folder; what the last line says of it.

    Raises:
        UsageError: a package is missing, or flags do not go together.
        DataError: the folder, the output folder or the file of texts is wrong.
        RunError: the exporter cannot do it, or the exported model computes something else.
    """
    check_request(asked)
    output = Path(asked.output_dir)
    with fresh_folder(output) as folder:
        comparison = write_program(asked, folder)
        with atomic_text_file(folder / REPORT) as file:
            file.write(
                json.dumps({"format": asked.format, "int8": asked.int8, **comparison.as_dict()}, indent=2) + "\n"
            )
    size = sum(path.stat().st_size for path in output.iterdir() if path.is_file())
    logger.info("%s: %.1f MB.", output, size / 1e6)
    return {"output_dir": str(output), "format": asked.format, **comparison.as_dict()}


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
    require_packages(asked.format)


def write_program(asked: ExportArguments, folder: Path) -> Comparison:
    """Program, tokenizer and settings into a folder; how the program compares."""
    model_arguments = ModelArguments(model_name_or_path=asked.run)
    config = load_config(model_arguments)
    masked = any(name.endswith(MASKED) for name in config.architectures or ())
    comparison = (export_masked if masked else export_predictor)(asked, model_arguments, folder)
    load_tokenizer(model_arguments).save_pretrained(folder)
    if (settings := Path(asked.run) / SETTINGS).is_file():
        shutil.copyfile(settings, folder / SETTINGS)
    return comparison


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
        predictor: Any = open_predictor(model_arguments, options)
        texts = list(islice(predictor.read(), asked.max_samples))
    with recorded(predictor.model) as batches:
        list(predictor.tag(texts))
    network = finish(asked, predictor.model, batches, folder)
    difference = find_difference(network, batches)
    if asked.int8 is None:
        return require_close(Comparison(difference, len(texts)))
    exported = replace(predictor, model=network, scored=[])
    list(exported.tag(texts))
    return require_scores(compare_scores(predictor, exported, difference, len(texts)), asked)


def export_masked(asked: ExportArguments, model_arguments: ModelArguments, folder: Path) -> Comparison:
    """A masked language model: its logits of every token."""
    if asked.int8 is not None:
        found = "--int8 is for taggers and classifiers, whose scores say what is lost"
        raise UsageError(Problem(found, remedy="export a masked language model without it"))
    model = AutoModelForMaskedLM.from_pretrained(asked.run, dtype=torch.float32, local_files_only=True).eval()
    tokenizer = load_tokenizer(model_arguments)
    with texts_file(asked) as path:
        lines = path.read_text(encoding="utf-8").splitlines()[: asked.max_samples]
    longest = resolve_max_length(None, model.config, tokenizer)
    with recorded(model) as batches, torch.no_grad():
        for start in range(0, len(lines), 8):
            some = lines[start : start + 8]
            model(**tokenizer(some, return_tensors="pt", padding=True, truncation=True, max_length=longest))
    network = finish(asked, model, batches, folder)
    return require_close(Comparison(find_difference(network, batches), len(lines)))


def finish(asked: ExportArguments, model: PreTrainedModel, batches: list[Batch], folder: Path) -> Any:
    """The program of a model, saved, and ready to be called."""
    inputs = [{name: tensor for name, tensor in batch.inputs.items() if name != "labels"} for batch in batches]
    usable = [batch for batch in inputs if len(next(iter(batch.values()))) > 1] or inputs
    program = export_model(model, usable, asked.format, asked.int8)
    program.save_pretrained(str(folder))
    return run_program(program, asked.format, model.config)


def require_close(comparison: Comparison) -> Comparison:
    """The comparison of floats.

    Raises:
        RunError: logits are further apart than rounding explains.
    """
    logger.info("Logits of %d texts differ by %.1e at most.", comparison.rows, comparison.difference)
    if comparison.difference > CLOSE:
        raise RunError(f"the exported model's logits differ by {comparison.difference:.1e}, more than {CLOSE:.0e}")
    return comparison


def compare_scores(original: Predictor, exported: Predictor, difference: float, rows: int) -> Comparison:
    """The main score of both, by the answers of the texts.

    Raises:
        DataError: the texts have none.
    """
    if not original.scored:
        remedy = "name their column with --label_column_name"
        raise DataError(Problem("the texts of --input_file have no right answers", remedy=remedy))
    before, after = original.score().metrics, exported.score().metrics
    main = next(iter(before))
    return Comparison(difference, rows, main, (before[main], after[main]))


def require_scores(comparison: Comparison, asked: ExportArguments) -> Comparison:
    """The comparison of scores.

    Raises:
        RunError: too much is lost, and nobody allowed it.
    """
    assert comparison.scores is not None
    before, after = comparison.scores
    logger.info("%s of %d texts: %.4f before, %.4f in eight bits.", comparison.metric, comparison.rows, before, after)
    if comparison.loss > LOSS and not asked.allow_loss:
        lost = f"{comparison.metric} falls from {before:.4f} to {after:.4f} on {comparison.rows} texts"
        remedy = "try the other --int8, export floats, or add --allow_loss"
        raise RunError(f"eight bits lose too much: {lost}, and {LOSS * 100:.1f} points are allowed; {remedy}")
    return comparison


@contextmanager
def texts_file(asked: ExportArguments) -> Iterator[Path]:
    """The file of texts that was named, or one with a few texts of our own."""
    if asked.input_file is not None:
        yield Path(asked.input_file)
        return
    with tempfile.TemporaryDirectory(prefix="finetune-export-") as folder:
        path = Path(folder) / "texts.txt"
        path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
        yield path


@contextmanager
def fresh_folder(output: Path) -> Iterator[Path]:
    """A folder that gets its name once everything is in it; nothing stays of it where that fails."""
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        yield folder
        folder.chmod(0o755)
        folder.replace(output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
