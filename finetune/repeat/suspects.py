"""Examples whose gold label out-of-fold models doubt most: confident learning.

Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels" (JAIR 70). The threshold of
a class is the mean probability that examples of its gold label have of it; an example is an issue if, of the classes whose
threshold it reaches, the likeliest is not its gold label. Issues and others are ranked by the normalised margin, the
probability of the gold label minus that of the likeliest other. Probabilities are means over seeds.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.data.array_files import read_npz, require_probabilities
from finetune.errors import DataError, Problem
from finetune.page.classified import as_set, read_classified
from finetune.page.tagged import read_tagged
from finetune.repeat.folds import Fold
from finetune.repeat.spread import Finished
from finetune.report.files import write_text

logger = logging.getLogger(__name__)

SUSPECTS = "suspects.jsonl"
LISTED = 0.1  # of all examples at least: those that are no issues by the thresholds, too, in their order
TEST = "test"


@dataclass(frozen=True)
class Judged:
    """Items (texts, or words) with their gold labels: `gold` (items,), `probabilities` (items, labels)."""

    facts: list[dict[str, Any]]
    gold: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    labels: list[str]


def write_suspects(folder: Path, runs: Sequence[Finished], folds: Sequence[Fold]) -> tuple[Path, int, int]:
    """Write `suspects.jsonl`, the most doubtful first; returns it with how many are listed, and how many are issues.

    Raises:
        DataError: the runs left no probabilities of one label for each item.
    """
    judged = join([judge_fold([run for run in runs if run.fold == fold.number], fold) for fold in folds])
    issues, margin = find_issues(judged.gold, judged.probabilities)
    order = np.lexsort((margin, ~issues))
    listed = order[: max(int(issues.sum()), int(np.ceil(LISTED * len(order))))]
    lines = (json.dumps(_describe(judged, row, issues, margin), ensure_ascii=False) + "\n" for row in listed.tolist())
    return write_text(folder / SUSPECTS, "".join(lines)), len(listed), int(issues.sum())


def find_issues(
    gold: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which items are issues (items,), and the margin of each gold label (items,)."""
    rows, number = np.arange(len(gold)), probabilities.shape[1]
    own = probabilities[rows, gold]
    sizes = np.bincount(gold, minlength=number)
    thresholds = np.where(sizes, np.bincount(gold, own, number) / np.maximum(sizes, 1), np.inf)
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    best = reached.argmax(axis=1)
    others = probabilities.copy()
    others[rows, gold] = -1.0
    return (reached.max(axis=1) >= 0) & (best != gold), own - others.max(axis=1)


def _describe(judged: Judged, row: int, issues: NDArray[np.bool_], margin: NDArray[np.float64]) -> dict[str, Any]:
    likely = judged.probabilities[row].argsort()[::-1][:3]
    return {
        **judged.facts[row],
        "gold": judged.labels[judged.gold[row]],
        "suggested": judged.labels[likely[0]],
        "margin": round(float(margin[row]), 6),
        "issue": bool(issues[row]),
        "probabilities": {judged.labels[n]: round(float(judged.probabilities[row, n]), 6) for n in likely},
    }


def join(parts: Sequence[Judged]) -> Judged:
    """All folds together, under the labels of all; a label that a fold's models did not know has probability 0."""
    labels = sorted({label for part in parts for label in part.labels})
    place = {label: number for number, label in enumerate(labels)}
    moved = []
    for part in parts:
        wide = np.zeros((len(part.gold), len(labels)))
        wide[:, [place[label] for label in part.labels]] = part.probabilities
        moved.append((wide, np.array([place[part.labels[gold]] for gold in part.gold], dtype=np.int64)))
    facts = [fact for part in parts for fact in part.facts]
    return Judged(
        facts, np.concatenate([gold for _, gold in moved]), np.concatenate([wide for wide, _ in moved]), labels
    )


def judge_fold(runs: Sequence[Finished], fold: Fold) -> Judged:
    """The test items of a fold with the mean probabilities of its models."""
    judged = [_judge_run(run, fold) for run in runs]
    first = judged[0]
    if any(other.labels != first.labels or len(other.gold) != len(first.gold) for other in judged):
        raise DataError(Problem(f"the models of fold {fold.number} do not answer the same words and labels"))
    mean = np.mean([other.probabilities for other in judged], axis=0)
    return Judged(first.facts, first.gold, mean, first.labels)


def _judge_run(run: Finished, fold: Fold) -> Judged:
    if TEST in run.folder.predictions("npz"):
        return _judge_words(run, fold)
    path = run.folder.predictions("jsonl").get(TEST)
    rows = read_classified(path) if path else []
    if not rows or "probabilities" not in rows[0] or isinstance(rows[0]["expected"], list):
        raise DataError(
            Problem("suspects need the probabilities of one label for each text or word", path=run.folder.path)
        )
    labels = list(rows[0]["probabilities"])
    known = [row for row in rows if str(row["expected"]) in labels]
    _tell_unknown(len(rows) - len(known), run)
    facts = [{"example": _example(fold, row["row"], len(rows)), "fold": fold.number, **_texts(row)} for row in known]
    gold = np.array([labels.index(next(iter(as_set(row["expected"])))) for row in known], dtype=np.int64)
    return Judged(facts, gold, np.array([[row["probabilities"][label] for label in labels] for row in known]), labels)


def _judge_words(run: Finished, fold: Fold) -> Judged:
    sentences = read_tagged(run.folder.predictions("conll")[TEST])
    path = run.folder.predictions("npz")[TEST]
    names, probabilities = read_npz(path, "labels", "probabilities")
    words = list(_list_words(sentences, fold))
    probabilities = require_probabilities(path, names, probabilities, len(words))
    labels = [str(label) for label in names]
    rows = [row for row, (_, tag) in enumerate(words) if tag in labels]
    _tell_unknown(len(words) - len(rows), run)
    gold = np.array([labels.index(words[row][1]) for row in rows], dtype=np.int64)
    return Judged([words[row][0] for row in rows], gold, probabilities[rows], labels)


def _list_words(sentences: Sequence[Any], fold: Fold) -> Iterator[tuple[dict[str, Any], str]]:
    for number, (words, tags, _) in enumerate(sentences):
        example = _example(fold, number, len(sentences))
        text = " ".join(words)
        for place, (word, tag) in enumerate(zip(words, tags, strict=True)):
            yield {"example": example, "fold": fold.number, "word": place, "text": word, "sentence": text}, tag


def _example(fold: Fold, row: int, number: int) -> int | None:
    """The place of an example in the whole file; None where the command left some of the fold's examples out."""
    return fold.tested[row] if number == len(fold.tested) else None


def _texts(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("text", "text_pair") if name in row}


def _tell_unknown(number: int, run: Finished) -> None:
    if number:
        logger.warning("%s: %d items have a label that its training data lack; they are not judged.", run.name, number)
