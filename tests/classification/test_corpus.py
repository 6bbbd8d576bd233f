from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from finetune.classification.arguments import ClassificationDataArguments, ColumnArguments
from finetune.classification.checks import find_problem_type
from finetune.classification.column_choice import ProblemType
from finetune.classification.corpus import load_classification_corpus
from finetune.data.corpus import Corpus
from finetune.errors import DataError


def write_lines(path: Path, *records: dict[str, Any]) -> str:
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    return str(path)


def load(columns: ColumnArguments | None = None, needed: bool = False, **data: Any) -> Corpus:
    arguments = ClassificationDataArguments(**data)
    return load_classification_corpus(arguments, columns or ColumnArguments(), seed=1, validation_needed=needed)


def rows(*labels: Any, **extra: Any) -> list[dict[str, Any]]:
    return [{"text": f"text number {number}", "label": label, **extra} for number, label in enumerate(labels)]


def test_single_labels_are_collected_and_sorted(tmp_path: Path) -> None:
    corpus = load(train_file=write_lines(tmp_path / "a.jsonl", *rows("10", "9", "10")))
    assert corpus.labels == ["9", "10"]
    assert find_problem_type(corpus) is ProblemType.SINGLE
    assert corpus.splits["train"][0] == {"text": "text number 0", "label": "10", "line": 1}


def test_lists_are_several_labels(tmp_path: Path) -> None:
    corpus = load(train_file=write_lines(tmp_path / "a.jsonl", *rows(["joy", "anger"], [], ["fear"])))
    assert corpus.labels == ["anger", "fear", "joy"]
    assert find_problem_type(corpus) is ProblemType.MULTI
    assert corpus.splits["train"]["label"][:] == [["joy", "anger"], [], ["fear"]]
    assert any("1 of 3 rows have none of the labels" in note for note in corpus.notes)


def test_flag_columns_are_several_labels(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,spam,rude\none two,1,0\nthree,0,0\n", encoding="utf-8")
    corpus = load(ColumnArguments(label_column="spam,rude"), train_file=str(tmp_path / "a.csv"))
    assert corpus.labels == ["spam", "rude"]
    assert corpus.splits["train"]["label"][:] == [["spam"], []]


def test_cells_of_several_labels(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("text\tlabel\none two\tspam|rude\nthree\t\nfour\trude\n", encoding="utf-8")
    corpus = load(ColumnArguments(label_delimiter="|"), train_file=str(tmp_path / "a.tsv"))
    assert corpus.splits["train"]["label"][:] == [["spam", "rude"], [], ["rude"]]


@pytest.mark.parametrize(("labels", "asked"), [((0.5, 3, 2.25), None), ((1, 2, 3), True)])
def test_numbers_are_regression(tmp_path: Path, labels: tuple, asked: bool | None) -> None:
    corpus = load(ColumnArguments(do_regression=asked), train_file=write_lines(tmp_path / "a.jsonl", *rows(*labels)))
    assert find_problem_type(corpus) is ProblemType.REGRESSION
    assert corpus.labels is None
    assert corpus.splits["train"]["label"][:] == list(map(float, labels))


def test_pairs_by_their_usual_names_and_joined_columns(tmp_path: Path) -> None:
    record = {"premise": "a b", "hypothesis": "c d", "title": "e", "label": "x"}
    path = write_lines(tmp_path / "a.jsonl", record, {**record, "label": "y"})
    row = load(train_file=path).splits["train"][0]
    assert (row["text"], row["text_pair"]) == ("a b", "c d")
    columns = ColumnArguments(text_column="title,premise", text_column_delimiter=" | ")
    assert load(columns, train_file=path).splits["train"][0]["text"] == "e | a b"


def test_validation_is_made_where_it_is_needed(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", *rows(*["x", "y"] * 10))
    corpus = load(needed=True, train_file=path)
    assert {split: len(part) for split, part in corpus.splits.items()} == {"train": 18, "validation": 2}
    assert set(load(train_file=path).splits) == {"train"}


def test_test_file_without_labels_is_predicted_not_scored(tmp_path: Path) -> None:
    train = write_lines(tmp_path / "train.jsonl", *rows("x", "y"))
    bare = write_lines(tmp_path / "test.jsonl", {"text": "words only"})
    hidden = write_lines(tmp_path / "hidden.jsonl", {"text": "words only", "label": -1})
    for path in (bare, hidden):
        corpus = load(train_file=train, test_file=path)
        assert corpus.splits["test"].column_names == ["text", "line"]
        assert any("test has no labels: its texts are predicted, not scored" in note for note in corpus.notes)


def test_minus_one_may_be_a_label(tmp_path: Path) -> None:
    assert load(train_file=write_lines(tmp_path / "a.jsonl", *rows(-1, 0, 1))).labels == ["-1", "0", "1"]


def test_saved_data_sets_keep_their_declared_labels(tmp_path: Path) -> None:
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    part = Dataset.from_dict({"sentence": ["one two", "three"], "label": [1, 0]}, features=features)
    DatasetDict(train=part, validation=part).save_to_disk(tmp_path / "saved")
    corpus = load(dataset_name=str(tmp_path / "saved"))
    assert corpus.labels == ["no", "yes"]
    assert corpus.splits["train"]["label"][:] == ["yes", "no"]
    assert any("2 of 2 texts of validation are also in train" in note for note in corpus.notes)


def test_folder_and_sample_limits(tmp_path: Path) -> None:
    write_lines(tmp_path / "train.jsonl", *rows("x", "y", "x", "y"))
    write_lines(tmp_path / "dev.jsonl", *rows("x", "y"))
    corpus = load(data_dir=str(tmp_path), max_train_samples=3, max_eval_samples=1)
    assert {split: len(part) for split, part in corpus.splits.items()} == {"train": 3, "validation": 1}


def test_several_files_by_a_pattern(tmp_path: Path) -> None:
    write_lines(tmp_path / "part-1.jsonl", *rows("x", "y"))
    write_lines(tmp_path / "part-2.jsonl", *rows("x"))
    corpus = load(train_file=str(tmp_path / "part-*.jsonl"))
    assert len(corpus.splits["train"]) == 3
    assert len(corpus.files["train"]) == 2


def problems_of(**data: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(**data)
    return str(caught.value)


def test_labels_outside_the_list_are_told_with_row_value_and_nearest(tmp_path: Path) -> None:
    train = write_lines(tmp_path / "train.jsonl", *rows("positive", "negative"))
    dev = write_lines(tmp_path / "dev.jsonl", *rows("positive", "negativ", "negativ"))
    text = problems_of(train_file=train, validation_file=dev)
    assert f"{dev}:2: the label 'negativ' occurs in validation (2 times, first here)" in text
    assert "the nearest known label is 'negative'" in text


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (rows("x", None), "a.jsonl:2: the row has no label"),
        (rows(["x"], None), "a.jsonl:2: the labels are nothing; a list is expected"),
        (rows("x", ["y"]), "a.jsonl:1: the labels are 'x'; a list is expected"),
        ([{"text": 3, "label": "x"}, {"text": "b", "label": "y"}], "a.jsonl:1: text holds 3 instead of a text"),
        ([{"text": 3, "label": "x"}, {"text": 4, "label": "y"}], "the text column 'text' of train holds only numbers"),
        ([{"text": "", "label": "x"}, {"text": " ", "label": "y"}], "the text column 'text' of train holds nothing"),
        ([{"text": "3.5", "label": "x"}], "the text column 'text' of train holds only numbers"),
        ([{"text": "a"}, {"text": "b"}], "no column is called label; the columns are text"),
        (rows("x", "x"), "train has one label only, x"),
        (
            [{"a": "b", "c": "d", "e": "f", "label": "x"}],
            "the text column cannot be told; the columns are a, c, e, label",
        ),
    ],
)
def test_bad_columns_and_values(tmp_path: Path, records: list, message: str) -> None:
    assert message in problems_of(train_file=write_lines(tmp_path / "a.jsonl", *records))


def test_wrong_column_names_have_a_nearest_match(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", *rows("x", "y"))
    columns = ColumnArguments(text_column="txt", label_column="labels")
    with pytest.raises(DataError) as caught:
        load(columns, train_file=path)
    assert "there is no column 'txt' (--text_column); the columns are text, label, the nearest is 'text'" in str(
        caught.value
    )
    assert "there is no column 'labels' (--label_column)" in str(caught.value)


def test_regression_labels_that_are_no_numbers(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", *rows(1.5, "high", float("nan")))
    with pytest.raises(DataError) as caught:
        load(ColumnArguments(do_regression=True), train_file=path)
    assert "a.jsonl:2: the label is 'high'; a number is expected (--do_regression)" in str(caught.value)
    assert "a.jsonl:3: the label is nan" in str(caught.value)


def test_problems_of_all_splits_come_together(tmp_path: Path) -> None:
    train = write_lines(tmp_path / "train.jsonl", *rows("x", None))
    (tmp_path / "dev.jsonl").write_text("{broken\n", encoding="utf-8")
    (tmp_path / "test.csv").write_text("text,label\na,b,c\n", encoding="utf-8")
    text = problems_of(
        train_file=train, validation_file=str(tmp_path / "dev.jsonl"), test_file=str(tmp_path / "test.csv")
    )
    assert "dev.jsonl:1" in text
    assert "test.csv:2" in text


def test_misspelt_named_corpus_offline() -> None:
    assert "did you mean goemotions" in problems_of(dataset_name="goemotion")
