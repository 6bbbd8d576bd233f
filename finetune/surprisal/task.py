"""Scoring without training: texts in, tables of surprisals out, chunk by chunk; and BLiMP's minimal pairs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from finetune.arguments.model import ModelArguments
from finetune.arguments.run import RunArguments
from finetune.errors import DataError, Problem, UsageError
from finetune.report.files import write_metrics, write_text
from finetune.run.folder import Run
from finetune.run.progress import Progress
from finetune.surprisal.arguments import ScoreArguments
from finetune.surprisal.blimp import MinimalPair, read_blimp
from finetune.surprisal.inference import ScoredTokens, SurprisalModel, open_surprisal_model
from finetune.surprisal.input import (
    InputFile,
    ScoringExample,
    join_facts,
    read_scoring_file,
    read_standard_input,
    resolve_input_files,
)
from finetune.surprisal.minimal_pairs import PairScore, macro_accuracy, score_groups, score_pairs
from finetune.surprisal.surprisal import LOG_2, sentence_surprisals
from finetune.surprisal.table_files import FORMATS, PrintedTable, TableFile
from finetune.surprisal.tables import ScoredTexts, SurprisalTables, abbreviate_count, metadata_column

logger = logging.getLogger(__name__)

CHUNK_CHARACTERS = 100_000
CHUNK_TEXTS = 2000
TIE_BITS = 1e-4  # below it the order of two sums is one of rounding
SAID = {
    "texts_windowed": "%d texts are longer than the model reads at once and were scored in overlapping windows.",
    "texts_cut": "%d texts are longer than the encoder takes and were cut at their ends.",
    "labels_cut": "%d labels are longer than the decoder takes and were cut at their ends.",
    "texts_without_tokens": "%d texts have no tokens and so no surprisal.",
    "texts_with_own_start": "%d texts brought a begin-of-text token of their own; none has a second one.",
    "texts_with_control_tokens": "%d texts spell a control token of the tokenizer (as </s>); it is scored as text.",
    "texts_without_masks": "%d texts hold no mask, so nothing in them was scored.",
    "tokens_without_surprisal": "%d tokens have no surprisal: nothing stands before them, or masks without labels.",
}
FACT_TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


@dataclass
class Totals:
    """Sums over all texts, for the last line."""

    texts: int = 0
    tokens: int = 0
    surprisal: float = 0.0

    def add(self, scored: ScoredTokens) -> None:
        sentences = sentence_surprisals(scored.surprisal, scored.offsets)
        self.texts += len(sentences.tokens)
        self.tokens += int(sentences.tokens.sum())
        self.surprisal += float(sentences.surprisal.sum())

    def metrics(self) -> dict[str, Any]:
        mean = self.surprisal / self.tokens if self.tokens else float("nan")
        return {"texts": self.texts, "tokens": self.tokens, "mean_surprisal": mean, "perplexity": float(np.exp2(mean))}


def run_scoring(model: ModelArguments, options: ScoreArguments, run: Run, behaviour: RunArguments) -> dict[str, Any]:
    """Score files, standard input, or BLiMP, as asked; returns what the last line says.

    Raises:
        DataError: input files or the model are wrong.
        UsageError: `--output_dir` stands in a config file only.
    """
    if options.output_dir and run.folder is None and not behaviour.dry_run:
        raise UsageError(Problem("--output_dir stands in the config file", remedy="type it on the command line"))
    if options.evaluate == "blimp":
        return run_blimp(model, options, run)
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
    table = open_table(surprisal_model, model, options, run)
    metrics = _score_all(surprisal_model, files, table, options)
    if run.folder is not None:
        write_metrics(run.folder, {"test": metrics})
    tell_counts(surprisal_model)
    return metrics


def _score_all(
    surprisal_model: SurprisalModel, files: Sequence[InputFile], table: OpenTable, options: ScoreArguments
) -> dict[str, Any]:
    totals, facts = Totals(), join_facts(files)
    total = sum(file.examples for file in files) or None
    _tell_facts(files, facts)
    with table.file as file, Progress("Scoring", total=total, unit="texts") as progress:
        for chunk in in_chunks(_read_examples(files)):
            scored = surprisal_model.score([item.text for item in chunk], [item.labels for item in chunk])
            totals.add(scored)
            if options.metrics_detail != "none":
                texts = describe_texts(surprisal_model, chunk, scored, facts, words=options.metrics_detail == "word")
                file.write(table.tables.build(texts, options.metrics_detail))
            progress.advance(len(chunk))
    return totals.metrics()


def _tell_facts(files: Sequence[InputFile], facts: Mapping[str, type]) -> None:
    renamed = [f"{name} as {metadata_column(name)}" for name in facts if metadata_column(name) != name]
    if renamed:
        logger.warning("Metadata whose names are columns of the tables already is written %s.", ", ".join(renamed))
    bare = [str(file.path) for file in files if file.metadata is None]
    if bare:
        logger.info("%d files have no metadata file beside them (%s).", len(bare), ", ".join(bare[:3]))


def _read_examples(files: Sequence[InputFile]) -> Iterator[ScoringExample]:
    if not files:
        yield from read_standard_input()
    for file in files:
        yield from read_scoring_file(file)


def in_chunks(examples: Iterable[ScoringExample]) -> Iterator[list[ScoringExample]]:
    """Examples in lists that hold a bounded number of characters: enough to batch by length, little to hold."""
    chunk: list[ScoringExample] = []
    size = 0
    for example in examples:
        chunk.append(example)
        size += len(example.text) + len(example.labels or "")
        if size >= CHUNK_CHARACTERS or len(chunk) >= CHUNK_TEXTS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


@dataclass(frozen=True)
class OpenTable:
    """Where rows go, and how they are made."""

    file: TableFile | PrintedTable
    tables: SurprisalTables


def open_table(surprisal_model: SurprisalModel, model: ModelArguments, options: ScoreArguments, run: Run) -> OpenTable:
    """The table of this run: `<model>-test_results.csv.gz` (or `.parquet`) in its folder, or standard output."""
    name = options.test_output_file_prefix or model_label(model.model_name_or_path)
    path = None if run.folder is None else run.folder / f"{name}-test_results{FORMATS[options.metrics_format]}"
    return OpenTable(
        PrintedTable() if path is None else TableFile(path), make_tables(surprisal_model, model.model_name_or_path)
    )


def make_tables(surprisal_model: SurprisalModel, model_name: str) -> SurprisalTables:
    """Tables whose first columns say which model this is."""
    tokens: list[Any] = list(
        surprisal_model.tokenizer.convert_ids_to_tokens(list(range(len(surprisal_model.tokenizer))))
    )
    vocabulary = max(len(tokens), surprisal_model.model.config.get_text_config().vocab_size)
    spelled = pa.array(tokens + [None] * (vocabulary - len(tokens)), pa.string())
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
    facts: Mapping[str, type],
    *,
    words: bool,
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
    trailing = {metadata_column(name): _fact_column(chunk, name, kind) for name, kind in facts.items()}
    trailing |= {
        "dataset_type": pa.array(["test"] * len(chunk)),
        "loss": pa.array(mean, mask=np.isnan(mean)),
        "dataset_name": pa.array([item.dataset for item in chunk]),
    }
    fields = {name: getattr(scored, name) for name in ScoredTokens.__dataclass_fields__}
    return ScoredTexts(leading, trailing, word_texts=spell_words(surprisal_model, scored) if words else None, **fields)


def _fact_column(chunk: Sequence[ScoringExample], name: str, kind: type) -> pa.Array:
    spell: Callable[[Any], Any] = spell_fact if kind is str else kind
    values = [item.facts.get(name) for item in chunk]
    return pa.array([None if value is None else spell(value) for value in values], FACT_TYPES[kind])


def spell_fact(value: object) -> str:
    """A fact that is no number as text: lists and objects as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


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


def tell_counts(surprisal_model: SurprisalModel) -> None:
    """Say what was cut, windowed or left without a score, once, with its number."""
    for name, sentence in SAID.items():
        if surprisal_model.counts[name]:
            logger.warning(sentence, surprisal_model.counts[name])


def run_blimp(model: ModelArguments, options: ScoreArguments, run: Run) -> dict[str, Any]:
    """Accuracy on BLiMP's minimal pairs: all, by field, by paradigm; files metrics.json, report.txt and pairs.

    Raises:
        DataError: the folder or the model is wrong, or the model is a sequence-to-sequence one.
    """
    pairs = read_blimp(Path(options.blimp_dir or ""))
    surprisal_model = open_surprisal_model(model, options)
    if surprisal_model.task == "seq2seq":
        remedy = "give a causal or a masked model"
        raise DataError(Problem("a sequence-to-sequence model gives no score to a sentence alone", remedy=remedy))
    run.start()
    metrics, details = evaluate_blimp(surprisal_model, pairs, run.folder, options.metrics_format)
    if run.folder is not None:
        write_metrics(run.folder, {"blimp": details})
    return metrics


def evaluate_blimp(
    surprisal_model: SurprisalModel, pairs: Sequence[MinimalPair], folder: Path | None, table_format: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Score minimal pairs, print the report, write it with the pairs to `folder`.

    Returns:
        The metrics of all pairs; those of each group of them.
    """
    good = score_sentences(surprisal_model, [pair.good for pair in pairs])
    bad = score_sentences(surprisal_model, [pair.bad for pair in pairs])
    scores = {
        "all": {"all": score_pairs(good, bad, tolerance=TIE_BITS)},
        "field": score_groups([pair.field for pair in pairs], good, bad, tolerance=TIE_BITS),
        "paradigm": score_groups([pair.paradigm for pair in pairs], good, bad, tolerance=TIE_BITS),
    }
    report = format_blimp(scores)
    print(report)
    if folder is not None:
        _write_blimp(folder, table_format, pairs, good, bad, report)
    tell_counts(surprisal_model)
    overall = scores["all"]["all"]
    metrics = {"accuracy": overall.accuracy, "paradigm_mean_accuracy": macro_accuracy(scores["paradigm"])}
    details = {
        group: {name: {**vars(score), "accuracy": score.accuracy} for name, score in members.items()}
        for group, members in scores.items()
    }
    return {**metrics, "pairs": overall.pairs, "ties": overall.ties}, details


def score_sentences(surprisal_model: SurprisalModel, sentences: Sequence[str]) -> np.ndarray:
    """The surprisal (sentences,) of each sentence in bits, summed over its tokens."""
    examples = [ScoringExample(number, text, None, {}, "") for number, text in enumerate(sentences)]
    parts = []
    with Progress("Scoring", total=len(examples), unit="sentences") as progress:
        for chunk in in_chunks(examples):
            scored = surprisal_model.score([item.text for item in chunk])
            parts.append(sentence_surprisals(scored.surprisal, scored.offsets).surprisal)
            progress.advance(len(chunk))
    return np.concatenate(parts)


def format_blimp(scores: Mapping[str, Mapping[str, PairScore]]) -> str:
    """A table of accuracies: paradigms, then fields, then all pairs."""
    lines = [f"{'':>52} {'accuracy':>9} {'correct':>8} {'ties':>6} {'pairs':>7}"]
    for group in ("paradigm", "field", "all"):
        lines.append("")
        for name, score in scores[group].items():
            lines.append(f"{name:>52} {score.accuracy:>9.4f} {score.correct:>8} {score.ties:>6} {score.pairs:>7}")
    return "\n".join(lines)


def _write_blimp(
    folder: Path,
    table_format: str,
    pairs: Sequence[MinimalPair],
    good: np.ndarray,
    bad: np.ndarray,
    report: str,
) -> None:
    write_text(folder / "report.txt", report + "\n")
    names = ("paradigm", "field", "term", "pair", "good", "bad")
    columns = {name: [getattr(pair, name) for pair in pairs] for name in names}
    with TableFile(folder / f"blimp{FORMATS[table_format]}") as file:
        file.write(pa.table({**columns, "surprisal_good": good, "surprisal_bad": bad}))
