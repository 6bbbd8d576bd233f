"""Folds, spread and suspects against what can be counted by hand."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import DataError, UsageError
from finetune.repeat.folds import cut_file, plan_folds
from finetune.repeat.spread import Spread
from finetune.repeat.strata import stratify
from finetune.repeat.suspects import find_issues
from finetune.repeat.task import LABEL_COLUMNS, find_typed, take_train_file

FILES = {
    "rows.jsonl": "".join(json.dumps({"text": f"text {n}", "label": n % 2}) + "\n" for n in range(11)),
    "rows.csv": "text,label\n" + "".join(f'"two\nlines, {n}",{n % 2}\n' for n in range(11)),
    "words.conll": "\n".join(f"Mira{n}\tB-PER\nsaw\tO\n" for n in range(11)),
    "lines.txt": "".join(f"__label__a text {n}\n" for n in range(11)),
}


@pytest.mark.parametrize("name", FILES)
def test_folds_keep_every_example_once_and_the_format(tmp_path, name):
    path = tmp_path / name
    path.write_text(FILES[name], encoding="utf-8")
    whole = cut_file(path)
    assert len(whole.examples) == 11
    folds = plan_folds(path, tmp_path / "folds", 3, 0, write=True)
    assert sorted(row for fold in folds for row in fold.tested) == list(range(11))
    for fold in folds:
        test, train = cut_file(fold.test), cut_file(fold.train)
        assert test.examples == [whole.examples[row] for row in fold.tested] and test.header == whole.header
        assert sorted(test.examples + train.examples) == sorted(whole.examples)


def test_equal_examples_share_a_fold_and_files_stay_as_they_are(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b"}\n{"text": "a"}\n{"text": "c"}\n', encoding="utf-8")
    folds = plan_folds(path, tmp_path / "folds", 2, 0, write=True)
    assert sum({0, 2} <= set(fold.tested) for fold in folds) == 1
    before = [fold.train.stat().st_mtime_ns for fold in folds]
    again = plan_folds(path, tmp_path / "folds", 2, 0, write=True)
    assert again == folds and [fold.train.stat().st_mtime_ns for fold in folds] == before
    with pytest.raises(DataError, match="3 distinct examples cannot be cut into 4 folds"):
        plan_folds(path, tmp_path / "folds", 4, 0, write=False)


def test_a_json_file_of_one_piece_is_refused(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('[\n{"text": "a"}\n]\n', encoding="utf-8")
    with pytest.raises(DataError, match="one JSON object on each line"):
        cut_file(path)


def test_the_training_file_is_taken_from_the_words():
    words, path = take_train_file(["--a", "1", "--train_file", "x.csv", "--b"])
    assert words == ["--a", "1", "--b"] and path.name == "x.csv"
    assert take_train_file(["--train_file=y.csv"])[1].name == "y.csv"
    for wrong in (["--a"], ["--train_file", "x", "y"], ["--train_file", "*.csv"]):
        with pytest.raises(UsageError):
            take_train_file(wrong)


def test_the_interval_of_a_mean_is_students():
    spread = Spread([1.0, 2.0, 3.0, 4.0])
    assert spread.mean == 2.5 and spread.deviation == pytest.approx(math.sqrt(5 / 3))
    assert spread.half == pytest.approx(3.182446 * math.sqrt(5 / 3) / 2, rel=1e-5)  # t of 3 degrees of freedom, 97.5 %
    assert Spread([1.0]).as_dict() == {"mean": 1.0, "deviation": None, "low": None, "high": None, "values": [1.0]}


def test_confident_learning_by_hand():
    """Thresholds: 0.55 of class 0 (0.9, 0.5, 0.25), 0.6 of class 1 (0.8, 0.4)."""
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.6, 0.4], [0.25, 0.75]])
    gold = np.array([0, 0, 1, 1, 0])
    issues, margin = find_issues(gold, probabilities)
    assert margin.tolist() == pytest.approx([0.8, 0.0, 0.6, -0.2, -0.5])
    assert issues.tolist() == [False, False, False, True, True]


def test_flipped_labels_come_first():
    """Of labels that were flipped at random, five in a hundred, most are in the first tenth."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 4, 1000)
    logits = generator.normal(0, 1, (1000, 4))
    logits[np.arange(1000), truth] += 2.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    flipped = generator.choice(1000, 50, replace=False)
    gold = truth.copy()
    gold[flipped] = (truth[flipped] + generator.integers(1, 4, 50)) % 4
    issues, margin = find_issues(gold, probabilities)
    first = np.lexsort((margin, ~issues))[:100]
    assert np.isin(flipped, first).mean() >= 0.6


COLUMNS = {
    "rows.jsonl": lambda n, label: json.dumps({"text": f"text {n}", "label": label}) + "\n",
    "tags.jsonl": lambda n, label: json.dumps({"tokens": [f"w{n}", "x"], "ner_tags": [f"B-{label}", "O"]}) + "\n",
    "rows.csv": lambda n, label: f'"two\nlines, {n}",{label}\n',
    "words.conll": lambda n, label: f"Mira{n}\tX\tB-{label}\nsaw\tY\tO\n\n",
    "lines.txt": lambda n, label: f"__label__{label} text {n}\n",
}


@pytest.mark.parametrize("name", COLUMNS)
def test_every_label_is_as_frequent_in_each_fold(tmp_path, name):
    """90 of one label, 25 of another and 5 of a rare one over five folds: 18, 5 and 1 in each."""
    kinds = [*["common"] * 90, *["other"] * 25, *["rare"] * 5]
    np.random.default_rng(3).shuffle(kinds)
    text = "".join(COLUMNS[name](n, kind) for n, kind in enumerate(kinds))
    (tmp_path / name).write_text(("text,label\n" if name.endswith("csv") else "") + text, encoding="utf-8")
    for fold in plan_folds(tmp_path / name, tmp_path / "folds", 5, 7, write=False):
        assert Counter(kinds[row] for row in fold.tested) == {"common": 18, "other": 5, "rare": 1}
    others = plan_folds(tmp_path / name, tmp_path / "folds", 5, 8, write=False)
    assert others[0].tested != plan_folds(tmp_path / name, tmp_path / "folds", 5, 7, write=False)[0].tested


@given(
    st.lists(st.frozensets(st.sampled_from("abcdef"), max_size=3), min_size=2, max_size=60),
    st.integers(2, 6),
    st.integers(0, 9),
)
def test_folds_of_several_labels_are_of_one_size_and_lack_nothing_that_they_could_have(labels, number, seed):
    folds = stratify(labels, [1] * len(labels), number, seed)
    assert len(folds) == len(labels) and set(folds) <= set(range(number))
    assert folds == stratify(labels, [1] * len(labels), number, seed)
    rarest = min(
        (label for there in labels for label in there), key=lambda x: (sum(x in t for t in labels), x), default=""
    )
    there = [fold for fold, own in zip(folds, labels, strict=True) if rarest in own]
    assert not rarest or len(set(there)) == min(number, len(there))


def test_labels_that_cannot_be_everywhere_are_said(tmp_path, caplog):
    path = tmp_path / "rows.csv"
    path.write_text("kind,text\n" + "".join(f"{['a', 'b', 'b'][n % 3]},{n}\n" for n in range(9)) + "z,1\n")
    plan_folds(path, tmp_path / "folds", 3, 0, write=False, label_column="kind")
    assert "fewer examples than there are folds are lacking in some: z" in caplog.text
    caplog.clear()
    plan_folds(path, tmp_path / "folds", 3, 0, write=False, label_column="none")
    assert "no labels are found by which folds could be stratified" in caplog.text
    assert find_typed(["--a", "--label_column_name", "kind"], LABEL_COLUMNS) == "kind"
    assert find_typed(["--label-column=kind"], LABEL_COLUMNS) == "kind" and find_typed(["--a"], LABEL_COLUMNS) is None
