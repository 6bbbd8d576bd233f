"""Minimal pairs scored by a model: accuracy of all and of each group, on standard output, in the report and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from finetune.arguments.model import ModelArguments
from finetune.data.files import find_paths
from finetune.errors import DataError, Problem
from finetune.report.files import write_metrics, write_text
from finetune.run.folder import Run
from finetune.run.progress import Progress
from finetune.surprisal.arguments import ScoreArguments
from finetune.surprisal.blimp import find_blimp, read_blimp
from finetune.surprisal.chunks import in_chunks, tell_counts
from finetune.surprisal.columns import OF_PAIRS, write_columns
from finetune.surprisal.facts import name_apart_from
from finetune.surprisal.inference import SurprisalModel, open_surprisal_model
from finetune.surprisal.input import ScoringExample
from finetune.surprisal.minimal_pairs import PairScore, macro_accuracy, score_groups, score_pairs
from finetune.surprisal.pair_arguments import PairArguments
from finetune.surprisal.pair_files import MinimalPair, read_pair_files
from finetune.surprisal.surprisal import sentence_surprisals
from finetune.surprisal.table_files import FORMATS, TableFile

TIE_BITS = 1e-4  # below it the order of two sums is one of rounding
NAME_WIDTH = 52
Scores = dict[str, dict[str, PairScore]]


def read_pairs(options: PairArguments) -> list[MinimalPair]:
    """The pairs that were asked for; none without `--evaluate`.

    Raises:
        DataError: files that are missing or hold something else.
    """
    good, bad = options.good_column, options.bad_column
    if options.evaluate == "blimp":
        return read_blimp(Path(options.blimp_dir or ""), good=good, bad=bad)
    return read_pair_files(options.pairs_file or (), good=good, bad=bad, groups=options.group_columns or ())


def find_pair_files(options: PairArguments) -> list[Path]:
    """The files that the pairs come from."""
    if options.evaluate == "blimp":
        return find_blimp(Path(options.blimp_dir or ""))
    return [path for pattern in options.pairs_file or () for path in find_paths(pattern, flag="--pairs_file")]


def check_pair_task(task: str) -> list[Problem]:
    """Whether a model of that task gives a score to a text alone."""
    if task != "seq2seq":
        return []
    found = "a sequence-to-sequence model gives no score to a sentence alone"
    return [Problem(found, remedy="give a causal or a masked model for --evaluate")]


def run_pairs(model: ModelArguments, options: ScoreArguments, run: Run) -> dict[str, Any]:
    """Accuracy on minimal pairs: all, and by group; files metrics.json, report.txt and pairs.

    Raises:
        DataError: the files or the model are wrong, or the model is a sequence-to-sequence one.
    """
    pairs = read_pairs(options)
    surprisal_model = open_surprisal_model(model, options)
    problems = check_pair_task(surprisal_model.task)
    if problems:
        raise DataError(*problems)
    run.start()
    run.record_inputs(find_pair_files(options))
    name = str(options.evaluate)
    metrics, details = evaluate_pairs(surprisal_model, pairs, run.folder, name, options.metrics_format)
    if run.folder is not None:
        write_metrics(run.folder, {name: details})
        write_columns(run.folder, [run.folder / f"{name}{FORMATS[options.metrics_format]}"])
    return metrics


def evaluate_pairs(
    surprisal_model: SurprisalModel, pairs: Sequence[MinimalPair], folder: Path | None, name: str, table_format: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Score minimal pairs, print the report, write it with the pairs to `folder`.

    Returns:
        The metrics of all pairs; those of each group of them.
    """
    good = score_sentences(surprisal_model, [pair.good for pair in pairs])
    bad = score_sentences(surprisal_model, [pair.bad for pair in pairs])
    scores: Scores = {"all": {"all": score_pairs(good, bad, tolerance=TIE_BITS)}}
    for kind, name_of_kind in name_apart_from(pairs[0].groups, scores).items():
        scores[name_of_kind] = score_groups([pair.groups[kind] for pair in pairs], good, bad, tolerance=TIE_BITS)
    report = format_scores(scores)
    print(report)
    if folder is not None:
        write_text(folder / "report.txt", report + "\n")
        _write_table(folder / f"{name}{FORMATS[table_format]}", pairs, good, bad)
    tell_counts(surprisal_model)
    return _summary(scores), _details(scores)


def _summary(scores: Scores) -> dict[str, Any]:
    overall, first = scores["all"]["all"], next(kind for kind in scores if kind != "all")
    means = {f"{first}_mean_accuracy": macro_accuracy(scores[first])}
    return {"accuracy": overall.accuracy, **means, "pairs": overall.pairs, "ties": overall.ties}


def _details(scores: Scores) -> dict[str, Any]:
    return {
        kind: {name: {**vars(score), "accuracy": score.accuracy} for name, score in members.items()}
        for kind, members in scores.items()
    }


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


def format_scores(scores: Mapping[str, Mapping[str, PairScore]]) -> str:
    """A table of accuracies: each kind of group (paradigms, fields, files), then all pairs."""
    names = [name for members in scores.values() for name in members]
    width = max(NAME_WIDTH, *map(len, names))
    lines = [f"{'':>{width}} {'accuracy':>9} {'correct':>8} {'ties':>6} {'pairs':>7}"]
    for kind in (*(kind for kind in scores if kind != "all"), "all"):
        lines.append("")
        for name, score in scores[kind].items():
            lines.append(f"{name:>{width}} {score.accuracy:>9.4f} {score.correct:>8} {score.ties:>6} {score.pairs:>7}")
    return "\n".join(lines)


def _write_table(path: Path, pairs: Sequence[MinimalPair], good: np.ndarray, bad: np.ndarray) -> None:
    known = [{**pair.groups, **pair.facts} for pair in pairs]
    columns = name_apart_from(known[0], OF_PAIRS)
    described = {columns[name]: [record[name] for record in known] for name in columns}
    texts = {"good": [pair.good for pair in pairs], "bad": [pair.bad for pair in pairs]}
    with TableFile(path) as file:
        file.write(pa.table({**described, **texts, "surprisal_good": good, "surprisal_bad": bad}))
