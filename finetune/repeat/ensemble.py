"""The models of all seeds as one: their probabilities averaged, and scored beside the single models.

Averaged probabilities of models that differ by their seed are the plainest ensemble (Hansen and Salamon 1990;
Lakshminarayanan, Pritzel and Blundell 2017). With folds, each fold's models answer the part that they never saw, and all
parts are scored together. Tags are the likeliest of each word, without decoding; of several labels a text has those
whose mean probability is above the mean of the models' thresholds; values are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetune.comparison.counts import Measure, measure_tags, measure_texts
from finetune.comparison.runs import ComparedRun, open_runs
from finetune.errors import DataError, Problem
from finetune.page.classified import Row
from finetune.page.tagged import Sentence
from finetune.repeat.spread import Finished

THRESHOLD = 0.5


@dataclass(frozen=True)
class EnsembleScore:
    """One score of a split: that of the ensemble, and those of the single models, one for each seed."""

    split: str
    name: str
    ensemble: float
    singles: list[float]

    @property
    def mean(self) -> float:
        return float(np.mean(self.singles))


def score_ensemble(runs: Sequence[Finished]) -> list[EnsembleScore]:
    """Scores of the averaged models over all folds; nothing of a single seed.

    Raises:
        DataError: the runs left no probabilities, or answered different examples.
    """
    seeds = sorted({run.seed for run in runs})
    if len(seeds) < 2:
        return []
    folds = sorted({run.fold or 0 for run in runs})
    groups = [open_runs([str(run.folder.path) for run in runs if (run.fold or 0) == fold], None) for fold in folds]
    first = groups[0][0]
    averaged = [example for group in groups for example in _average(group)]
    together = _measure(first, averaged)
    singles = [
        _measure(first, [example for group in groups for example in group[n].examples]) for n in range(len(seeds))
    ]
    return [
        EnsembleScore(first.split, measure.name, _score(measure), [_score(single[place]) for single in singles])
        for place, measure in enumerate(together)
    ]


def _measure(run: ComparedRun, examples: list) -> list[Measure]:
    return measure_tags(examples, run.scheme) if run.kind == "conll" else measure_texts(examples)


def _score(measure: Measure) -> float:
    return float(measure.score(measure.counts.sum(axis=0)[None])[0])


def _average(group: Sequence[ComparedRun]) -> list[Sentence] | list[Row]:
    return _average_tags(group) if group[0].kind == "conll" else _average_texts(group)


def _average_tags(group: Sequence[ComparedRun]) -> list[Sentence]:
    labels, total = _read_words(group[0])
    for run in group[1:]:
        others, probabilities = _read_words(run)
        if others != labels or probabilities.shape != total.shape:
            raise DataError(Problem("the models do not answer the same words and labels", path=run.folder.path))
        total = total + probabilities
    best = [labels[n] for n in total.argmax(axis=1).tolist()]
    sentences: list[Sentence] = []
    for words, expected, _ in group[0].examples:
        said, best = best[: len(words)], best[len(words) :]
        sentences.append((words, expected, said))
    return sentences


def _read_words(run: ComparedRun) -> tuple[list[str], NDArray[np.float64]]:
    path = run.folder.predictions("npz").get(run.split)
    if path is None:
        raise DataError(Problem(f"there are no probabilities of the words of {run.split}", path=run.folder.path))
    with np.load(path, allow_pickle=False) as saved:
        labels, probabilities = saved["labels"].tolist(), saved["probabilities"].astype(np.float64)
    words = sum(len(sentence[0]) for sentence in run.examples)
    if len(probabilities) != words:
        raise DataError(Problem(f"{len(probabilities):,} probabilities for {words:,} words", path=path))
    return labels, probabilities


def _average_texts(group: Sequence[ComparedRun]) -> list[Row]:
    rows = list(zip(*(run.examples for run in group), strict=True))
    if "probabilities" not in rows[0][0]:
        return [{**row[0], "predicted": float(np.mean([float(one["predicted"]) for one in row]))} for row in rows]
    labels = list(rows[0][0]["probabilities"])
    thresholds = np.mean([_thresholds(run, labels) for run in group], axis=0)
    return [_decide(row, labels, thresholds) for row in rows]


def _decide(row: Sequence[Row], labels: list[str], thresholds: NDArray[np.float64]) -> Row:
    mean = np.mean([[one["probabilities"].get(label, 0.0) for label in labels] for one in row], axis=0)
    several = isinstance(row[0]["expected"], list)
    given = [label for label, is_given in zip(labels, mean > thresholds, strict=True) if is_given]
    predicted = given if several else labels[int(mean.argmax())]
    return {**row[0], "predicted": predicted, "probabilities": dict(zip(labels, mean.tolist(), strict=True))}


def _thresholds(run: ComparedRun, labels: Sequence[str]) -> list[float]:
    saved = run.folder.settings.get("thresholds")
    return [float(saved.get(label, THRESHOLD)) if isinstance(saved, dict) else THRESHOLD for label in labels]
