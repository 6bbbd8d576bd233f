"""Scoring without training: texts in, tables of surprisals out, chunk by chunk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from finetune.arguments.model import ModelArguments
from finetune.arguments.run import RunArguments
from finetune.errors import DataError, Problem, UsageError
from finetune.report.files import write_metrics
from finetune.run.comparing import NOT_COMPARED, fingerprints
from finetune.run.engines import Needs, kept_beside
from finetune.run.folder import Run
from finetune.run.launcher import is_main_process
from finetune.run.manifest import plain
from finetune.run.progress import Progress
from finetune.run.sharing import open_shares
from finetune.surprisal.arguments import ScoreArguments
from finetune.surprisal.chunks import in_chunks, tell_counts
from finetune.surprisal.columns import COLUMNS, write_columns
from finetune.surprisal.facts import FactKind, fact_column, join_facts, name_apart_from, tell_renamed
from finetune.surprisal.inference import ScoredTokens, SurprisalModel, open_surprisal_model
from finetune.surprisal.input import (
    InputFile,
    ScoringExample,
    read_scoring_file,
    read_standard_input,
    resolve_input_files,
)
from finetune.surprisal.pair_evaluation import run_pairs
from finetune.surprisal.shared_chunks import ScoredChunk, ScoringJob, Totals, gather_chunks
from finetune.surprisal.surprisal import LOG_2, sentence_surprisals
from finetune.surprisal.table_files import FORMATS, PrintedTable, TableFile
from finetune.surprisal.tables import ScoredTexts, SurprisalTables, abbreviate_count
from finetune.surprisal.word_places import WordPlaces, find_word_places

logger = logging.getLogger(__name__)


def run_scoring(model: ModelArguments, options: ScoreArguments, run: Run, behaviour: RunArguments) -> dict[str, Any]:
    """Score files, standard input, or BLiMP, as asked; returns what the last line says.

    Raises:
        DataError: input files or the model are wrong.
        UsageError: `--output_dir` stands in a config file only.
    """
    if options.output_dir and run.folder is None and not behaviour.dry_run:
        raise UsageError(Problem("--output_dir stands in the config file", remedy="type it on the command line"))
    if options.evaluate:
        return run_pairs(model, options, run)
    files = resolve_input_files(options.test_file, flag="--test_file") if options.test_file else []
    surprisal_model = open_surprisal_model(model, options)
    if surprisal_model.task == "seq2seq" and not (files and all(file.labelled == file.examples for file in files)):
        remedy = 'give .json files of objects with "text" and "labels"'
        raise DataError(
            Problem("a sequence-to-sequence model scores labels, and not every text has some", remedy=remedy)
        )
    if behaviour.dry_run:
        return {"texts": sum(file.examples for file in files)}
    run.start()
    run.record_inputs([path for file in files for path in (file.path, file.metadata) if path])
    table = open_table(model, options, run)
    with open_shares(table.path if isinstance(table, TableFile) else None) as shares:
        job = make_job(surprisal_model, files, model, options)
        needs = find_needs(files, model, options, table)
        parts = gather_chunks(shares, job, needs) if shares else job.work_on(job.read())
        if not is_main_process():
            for _ in parts:
                raise AssertionError("only the first process is handed what all have scored")
            return {}
        metrics = _write_all(parts, files, table)
        needs.forget()
    if run.folder is not None:
        write_metrics(run.folder, {"test": metrics})
        write_columns(run.folder, [table.path] if isinstance(table, TableFile) else [])
    tell_counts(surprisal_model)
    return metrics


def _write_all(
    parts: Iterator[ScoredChunk], files: Sequence[InputFile], table: TableFile | PrintedTable
) -> dict[str, Any]:
    totals = Totals()
    total = sum(file.examples for file in files) or None
    _tell_facts(files, join_facts(file.facts for file in files))
    with table as file, Progress("Scoring", total=total, unit="texts") as progress:
        for part in parts:
            totals.add(part.totals)
            if part.rows is not None:
                file.write(part.rows)
            progress.advance(part.totals.texts)
    return totals.metrics()


def make_job(
    surprisal_model: SurprisalModel, files: Sequence[InputFile], model: ModelArguments, options: ScoreArguments
) -> ScoringJob:
    """What makes scored chunks of the texts of checked files, here or anywhere."""
    tables = make_tables(surprisal_model, model.model_name_or_path)
    work = score_chunks(surprisal_model, files, tables, options)
    return ScoringJob(
        lambda: in_chunks(_read_examples(files)), work, surprisal_model, (open_job, (files, model, options))
    )


def open_job(files: Sequence[InputFile], model: ModelArguments, options: ScoreArguments) -> ScoringJob:
    """The same in a process that has no model yet."""
    return make_job(open_surprisal_model(model, options), files, model, options)


def find_needs(
    files: Sequence[InputFile], model: ModelArguments, options: ScoreArguments, table: TableFile | PrintedTable
) -> Needs:
    """What scoring takes elsewhere; finished chunks wait beside the table."""
    texts = [path for file in files for path in (file.path, file.metadata) if path]
    folder = Path(model.model_name_or_path)
    made_of = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    if not isinstance(table, TableFile):
        return Needs([*texts, *made_of], accelerated=True)
    arguments = {name: value for name, value in (vars(model) | vars(options)).items() if name not in NOT_COMPARED}
    key = lambda: [plain(arguments), fingerprints([*texts, *made_of])]  # noqa: E731
    kept = kept_beside(table.path)
    return Needs([*texts, *made_of], accelerated=True, kept=kept, key=key)


def score_chunks(
    surprisal_model: SurprisalModel, files: Sequence[InputFile], tables: SurprisalTables, options: ScoreArguments
) -> Callable[[Iterator[list[ScoringExample]]], Iterator[ScoredChunk]]:
    """What makes scored chunks of chunks of texts."""
    facts = join_facts(file.facts for file in files)

    def work(chunks: Iterator[list[ScoringExample]]) -> Iterator[ScoredChunk]:
        for chunk in chunks:
            scored = surprisal_model.score([item.text for item in chunk], [item.labels for item in chunk])
            rows = None
            if options.metrics_detail != "none":
                texts = describe_texts(surprisal_model, chunk, scored, facts, detail=options.metrics_detail)
                rows = tables.build(texts, options.metrics_detail)
            yield ScoredChunk(Totals.of(scored), rows)

    return work


def _tell_facts(files: Sequence[InputFile], facts: Mapping[str, FactKind]) -> None:
    tell_renamed(name_apart_from(facts, COLUMNS))
    bare = [str(file.path) for file in files if file.metadata is None]
    if bare:
        logger.info("%d files have no metadata file beside them (%s).", len(bare), ", ".join(bare[:3]))


def _read_examples(files: Sequence[InputFile]) -> Iterator[ScoringExample]:
    if not files:
        yield from read_standard_input()
    for file in files:
        yield from read_scoring_file(file)


def open_table(model: ModelArguments, options: ScoreArguments, run: Run) -> TableFile | PrintedTable:
    """The table of this run: `<model>-test_results.csv.gz` (or `.parquet`) in its folder, or standard output."""
    name = options.test_output_file_prefix or model_label(model.model_name_or_path)
    if run.folder is None:
        return PrintedTable()
    return TableFile(run.folder / f"{name}-test_results{FORMATS[options.metrics_format]}")


def make_tables(surprisal_model: SurprisalModel, model_name: str) -> SurprisalTables:
    """Tables whose first columns say which model this is."""
    missing = surprisal_model.vocabulary - len(surprisal_model.tokens)
    spelled = pa.array([token or None for token in [*surprisal_model.tokens, *[None] * missing]], pa.string())
    constants = {
        "model_name": model_name,
        "task": surprisal_model.task,
        "n_params": abbreviate_count(surprisal_model.parameters),
    }
    return SurprisalTables(spelled, constants)


def model_label(name: str) -> str:
    """A model's name as part of a file's name: slashes become dashes."""
    return name.strip("/").replace("/", "-") or "model"


def describe_texts(
    surprisal_model: SurprisalModel,
    chunk: Sequence[ScoringExample],
    scored: ScoredTokens,
    facts: Mapping[str, FactKind],
    *,
    detail: str,
) -> ScoredTexts:
    """The documented columns around the scores of a chunk: texts in front, metadata, loss and data set behind.

    `loss` is the mean over the text's scored tokens in nats, as the model itself would compute it for this text alone.
    """
    texts = pa.array([item.text for item in chunk], pa.string())
    labels = pa.array([item.labels for item in chunk], pa.string())
    leading = {"item": pa.array([item.item for item in chunk], pa.int64()), "original_text": texts, "input_text": texts}
    if surprisal_model.task == "seq2seq":
        leading |= {"generated_sequence_type": pa.array(["label_sequence"] * len(chunk)), "label_text": labels}
    else:
        leading["input_label"] = labels
    mean = sentence_surprisals(scored.surprisal, scored.offsets).mean * LOG_2
    columns = name_apart_from(facts, COLUMNS)
    trailing = {columns[name]: _fact_column(chunk, name, kind) for name, kind in facts.items()}
    trailing |= {
        "dataset_type": pa.array(["test"] * len(chunk)),
        "loss": pa.array(mean, mask=np.isnan(mean)),
        "dataset_name": pa.array([item.dataset for item in chunk]),
    }
    fields = {name: getattr(scored, name) for name in ScoredTokens.__dataclass_fields__}
    of_words = describe_words(surprisal_model, scored, [_scored_text(surprisal_model, item) for item in chunk], detail)
    return ScoredTexts(leading, trailing, **of_words, **fields)


def _scored_text(surprisal_model: SurprisalModel, item: ScoringExample) -> str:
    """What the tokens of an example are the tokens of."""
    reads_labels = surprisal_model.task == "seq2seq" or surprisal_model.masking == "given"
    return item.labels if reads_labels and item.labels is not None else item.text


def describe_words(
    surprisal_model: SurprisalModel,
    scored: ScoredTokens,
    texts: Sequence[str] | None,
    detail: str,
    *,
    places: WordPlaces | None = None,
) -> dict[str, Any]:
    """What tables of that detail say of words beside their surprisals.

    `texts` (texts,) are those that are scored, None where no column holds them. `places` are known already.
    """
    if detail not in ("token", "word"):
        return {}
    words = spell_words(surprisal_model, scored) if detail == "word" else None
    if places is None and texts is not None:
        edges = scored.offsets[1:-1]
        places = place_words(surprisal_model, np.split(scored.ids, edges), np.split(scored.starts, edges), texts)
    return {"word_texts": words, "places": places}


def place_words(
    surprisal_model: SurprisalModel,
    rows: Sequence[npt.NDArray[np.integer]],
    starts: Sequence[npt.NDArray[np.bool_]],
    texts: Sequence[str],
) -> WordPlaces:
    """The places in their texts of the words of some rows of ids, which begin at `starts`."""
    tokenizer = surprisal_model.tokenizer
    decode = lambda ids: str(tokenizer.decode(ids.tolist()))  # noqa: E731
    special = sorted({*tokenizer.all_special_ids} - {tokenizer.unk_token_id})  # what is unknown stands for characters
    rows, starts = (rows, starts) if texts else ([], [])
    return find_word_places(surprisal_model.subwords, texts, rows, starts, decode, special)


def _fact_column(chunk: Sequence[ScoringExample], name: str, kind: FactKind) -> pa.Array:
    return fact_column([item.facts.get(name) for item in chunk], kind)


def spell_words(surprisal_model: SurprisalModel, scored: ScoredTokens) -> list[str]:
    """The text (words,) of each word, without the spaces around it; equal words are decoded once."""
    known: dict[bytes, str] = {}
    words = []
    ids = np.ascontiguousarray(scored.ids)
    for first, count in zip(scored.words.first_token.tolist(), scored.words.tokens.tolist(), strict=True):
        subword = ids[first : first + count]
        key = subword.tobytes()
        if key not in known:
            known[key] = str(surprisal_model.tokenizer.decode(subword.tolist())).strip()
        words.append(known[key])
    return words
