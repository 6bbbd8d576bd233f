"""The models of all seeds as one, against averages made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from finetune.errors import DataError
from finetune.page.folder import RunFolder
from finetune.repeat.ensemble import score_ensemble
from finetune.repeat.spread import Finished

LABELS = ["a", "b", "c"]


def finish(folder: Path, seed: int, fold: int | None, rows: list[dict], **settings: object) -> Finished:
    """A classifier's folder as a run leaves it."""
    folder.mkdir()
    (folder / "predictions.test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "metrics.json").write_text('{"test": {"accuracy": 0}}')
    (folder / "finetune_settings.json").write_text(json.dumps(settings))
    return Finished(folder.name, seed, fold, RunFolder(folder))


def draw(seed: int, gold: np.ndarray) -> np.ndarray:
    """Probabilities (texts, labels) of a model that knows a little of the gold labels."""
    logits = np.random.default_rng(seed).normal(0, 1.5, (len(gold), len(LABELS)))
    logits[np.arange(len(gold)), gold] += 1
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def as_rows(gold: np.ndarray, probabilities: np.ndarray, first: int = 0) -> list[dict]:
    return [
        {"row": n, "text": f"text {n + first}", "expected": LABELS[label], "predicted": LABELS[int(row.argmax())],
         "probabilities": dict(zip(LABELS, row.tolist(), strict=True))}
        for n, (label, row) in enumerate(zip(gold.tolist(), probabilities, strict=True))
    ]  # fmt: skip


@pytest.mark.parametrize("folds", [1, 3])
def test_probabilities_are_averaged_and_all_folds_scored_together(tmp_path, folds):
    gold = np.random.default_rng(0).integers(0, 3, 90)
    drawn = [draw(seed, gold) for seed in (1, 2, 3, 4)]
    runs = []
    for seed, probabilities in enumerate(drawn):
        for fold, part in enumerate(np.split(np.arange(90), folds)):
            rows = as_rows(gold[part], probabilities[part], int(part[0]))
            number = fold + 1 if folds > 1 else None
            runs.append(finish(tmp_path / f"{seed}-{fold}", seed, number, rows))
    scores = {score.name: score for score in score_ensemble(runs)}
    together = np.mean(drawn, axis=0).argmax(axis=1)
    assert scores["accuracy"].ensemble == pytest.approx(accuracy_score(gold, together))
    assert scores["f1_macro"].ensemble == pytest.approx(f1_score(gold, together, average="macro"))
    assert scores["accuracy"].singles == pytest.approx([accuracy_score(gold, one.argmax(axis=1)) for one in drawn])
    assert scores["accuracy"].ensemble > scores["accuracy"].mean


def test_several_labels_are_decided_by_the_mean_threshold(tmp_path):
    """Label a: mean 0.45 above the mean threshold 0.4, b: 0.45 below 0.5."""
    runs = []
    for seed, (a, b, threshold) in enumerate([(0.3, 0.6, 0.3), (0.6, 0.3, 0.5)]):
        said = [label for label, p, t in (("a", a, threshold), ("b", b, 0.5)) if p > t]
        row = {"row": 0, "text": "x", "expected": ["a"], "predicted": said, "probabilities": {"a": a, "b": b}}
        runs.append(finish(tmp_path / str(seed), seed, None, [row], thresholds={"a": threshold, "b": 0.5}))
    assert {score.name: score.ensemble for score in score_ensemble(runs)} == {
        "f1_micro": 1,
        "f1_macro": 0.5,
        "accuracy": 1,
    }


def test_values_are_averaged(tmp_path):
    values = [(1.0, 2.0), (3.0, 5.0), (4.0, 1.0)]
    runs = []
    for seed in (0, 1):
        rows = [
            {"row": n, "text": f"{n}", "expected": 2.0 * n, "predicted": pair[seed]} for n, pair in enumerate(values)
        ]
        runs.append(finish(tmp_path / str(seed), seed, None, rows))
    scores = {score.name: score.ensemble for score in score_ensemble(runs)}
    assert scores["mean_absolute_error"] == pytest.approx((1.5 + 2 + 1.5) / 3)


def test_a_single_seed_is_no_ensemble_and_missing_probabilities_are_told(tmp_path):
    gold = np.array([0, 1])
    run = finish(tmp_path / "0", 0, None, as_rows(gold, draw(0, gold)))
    assert score_ensemble([run]) == []
    taggers = []
    for seed in (0, 1):
        folder = tmp_path / f"tagger-{seed}"
        folder.mkdir()
        (folder / "predictions.test.conll").write_text("Mira\tB-PER\tO\n\n")
        (folder / "metrics.json").write_text('{"test": {"f1_micro": 0}}')
        taggers.append(Finished(folder.name, seed, None, RunFolder(folder)))
    with pytest.raises(DataError, match="no probabilities of the words of test"):
        score_ensemble(taggers)


def test_words_of_taggers_get_the_likeliest_tag_of_all(tmp_path):
    tags = np.array(["O", "B-PER"])
    runs = []
    for seed, probabilities in enumerate([[[0.1, 0.9], [0.6, 0.4]], [[0.6, 0.4], [0.45, 0.55]]]):
        folder = tmp_path / str(seed)
        folder.mkdir()
        said = [tags[row.argmax()] for row in np.array(probabilities)]
        (folder / "predictions.test.conll").write_text(f"Mira\tB-PER\t{said[0]}\nsaw\tO\t{said[1]}\n\n")
        (folder / "metrics.json").write_text('{"test": {"f1_micro": 0}}')
        np.savez(folder / "predictions.test.npz", labels=tags, probabilities=np.array(probabilities, dtype=np.float16))
        runs.append(Finished(folder.name, seed, None, RunFolder(folder)))
    scores = {score.name: score for score in score_ensemble(runs)}
    assert scores["f1_micro"].ensemble == 1 and scores["accuracy"].ensemble == 1
    assert scores["f1_micro"].singles == [1, 0]
