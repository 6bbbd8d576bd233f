"""Labels as people write them: vectors, decisions, numbers, empty cells, spellings; one class is one class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.classification.arguments import ClassificationDataArguments, ColumnArguments
from finetune.classification.checks import find_problem_type
from finetune.classification.column_choice import ProblemType
from finetune.classification.corpus import load_classification_corpus
from finetune.classification.label_values import find_other_numbers, find_vector_width
from finetune.data.corpus import Corpus
from finetune.data.label_spellings import find_alike
from finetune.errors import DataError

TEXTS = ["a fine film", "far too long", "I smiled", "I left early"]


def load(folder: Path, train: list, dev: list | None = None, test: list | None = None, **columns: Any) -> Corpus:
    """The corpus of JSON rows with these labels, text by text."""
    files = {}
    for name, labels in (("train", train), ("validation", dev or train), ("test", test)):
        if labels is not None:
            rows = [{"text": f"{TEXTS[n % 4]} {n}", "label": label} for n, label in enumerate(labels)]
            path = folder / f"{name}.jsonl"
            path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
            files[f"{name}_file"] = str(path)
    return load_classification_corpus(ClassificationDataArguments(**files), ColumnArguments(**columns), seed=1)


def labels_of(corpus: Corpus, split: str = "train") -> list:
    return corpus.splits[split]["label"][:]


@pytest.mark.parametrize("one", [1, 1.0, True])
def test_vectors_of_decisions(tmp_path: Path, one: Any) -> None:
    zero = type(one)(0)
    corpus = load(tmp_path, [[one, one, zero], [zero, zero, zero], [zero, zero, one]])
    assert labels_of(corpus) == [["0", "1"], [], ["2"]]
    assert any("3 decisions of 0 and 1" in note for note in corpus.notes)


def test_lists_of_ids_are_no_vectors(tmp_path: Path) -> None:
    assert labels_of(load(tmp_path, [[0, 1, 2], [1, 0, 2]])) == [["0", "1", "2"], ["1", "0", "2"]]
    assert labels_of(load(tmp_path, [[0], [0, 1]])) == [["0"], ["0", "1"]]


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=5))
def test_only_equally_long_lists_of_zeros_and_ones_are_vectors(lists: list[list[int]]) -> None:
    width = find_vector_width(lists)
    if width is not None:
        assert all(len(own) == width and set(own) <= {0, 1} for own in lists)


def test_lists_of_one_label_are_classes(tmp_path: Path) -> None:
    corpus = load(tmp_path, [["pos"], ["neg"]])
    assert labels_of(corpus) == ["pos", "neg"]
    assert find_problem_type(load(tmp_path, [["pos"], ["neg"]], [["pos", "neg"], ["pos"]])) is ProblemType.MULTI


@pytest.mark.parametrize(("train", "dev"), [([1.0, 0.0], [1, 0]), (["1.0", "0.0"], ["1", "0"]), (["1", "0"], [1.0, 0])])
def test_whole_numbers_have_one_spelling(tmp_path: Path, train: list, dev: list) -> None:
    corpus = load(tmp_path, train, dev)
    assert (labels_of(corpus), labels_of(corpus, "validation")) == (["1", "0"], ["1", "0"])


def test_names_that_hold_numbers_stay(tmp_path: Path) -> None:
    assert labels_of(load(tmp_path, ["v1.0", "1.0"])) == ["v1.0", "1.0"]


@pytest.mark.parametrize("labels", [["4,6", "3,0"], ["40%", "3.5 %"], ["1/2", "3/4"], ["4,6", "3"]])
def test_numbers_that_no_program_reads_are_told(tmp_path: Path, labels: list[str]) -> None:
    with pytest.raises(DataError, match=r"looks like a number.*--do_regression False makes a class of each"):
        load(tmp_path, labels)
    assert labels_of(load(tmp_path, labels, do_regression=False)) == labels


@pytest.mark.parametrize("missing", [float("nan"), None, "", "nan", "N/A"])
def test_an_empty_label_among_numbers_is_told_and_decides_nothing(tmp_path: Path, missing: Any) -> None:
    with pytest.raises(DataError, match=r"train.jsonl:3: the row has no label"):
        load(tmp_path, [1, 0, missing], [1, 0])


def test_fractions_in_validation_name_the_flag(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="need --do_regression"):
        load(tmp_path, [1, 0, 2], [1.5])


def test_minus_one_is_a_class_where_train_has_it(tmp_path: Path) -> None:
    assert labels_of(load(tmp_path, [1, -1], test=[-1, -1]), "test") == ["-1", "-1"]
    assert "label" not in load(tmp_path, [1, 0], test=[-1, -1]).splits["test"].column_names


@pytest.mark.parametrize("other", ["POS", "ｐｏｓ", "p\u200bos", "'pos'", "pos.", "pos"])
def test_labels_that_look_alike_are_told_and_made_one_on_request(tmp_path: Path, other: str) -> None:
    labels = ["pos", "pos", other, "neg"]
    told = [note for note in load(tmp_path, labels).notes if "--normalize_labels" in note]
    assert bool(told) == (other != "pos")
    assert set(labels_of(load(tmp_path, labels, normalize_labels=True))) == {"pos", "neg"}


@pytest.mark.parametrize(
    "pair", [("very_good", "very good"), ("non-toxic", "non\u2011toxic"), ("๓", "3"), ("“so”", "so;")]
)
def test_marks_that_labels_may_differ_in(pair: tuple[str, str]) -> None:
    assert find_alike(dict.fromkeys(pair, 1)) == [list(pair)]


def test_signs_are_labels_of_their_own() -> None:
    for names in (("$.", "$,", "$("), ("C", "C++", "C#"), ("+", "-", "."), ("``", "''")):
        assert find_alike(dict.fromkeys(names, 1)) == []


@pytest.mark.parametrize(("other", "doubtful"), [("?", True), ("-", True), ("+", False)])
def test_a_label_that_may_mean_none_is_told(tmp_path: Path, other: str, doubtful: bool) -> None:
    notes = load(tmp_path, ["pos", "pos", other, "-" if other == "+" else "neg"]).notes
    assert any("is learnt as one like the others" in note for note in notes) == doubtful


def test_white_space_around_labels_goes(tmp_path: Path) -> None:
    corpus = load(tmp_path, ["pos", "pos ", " neg"])
    assert labels_of(corpus) == ["pos", "pos", "neg"]
    assert any("2 labels had white space" in note or "4 labels had white space" in note for note in corpus.notes)


@given(st.dictionaries(st.text(alphabet="aAéE\u0301 ", max_size=4), st.integers(1, 5)))
def test_groups_of_alike_labels_hold_each_once(counts: dict[str, int]) -> None:
    groups = find_alike(counts)
    every = [label for group in groups for label in group]
    assert len(every) == len(set(every))
    assert all(counts[group[0]] == max(counts[label] for label in group) for group in groups)


def test_a_class_for_every_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="every row of train has a label of its own"):
        load(tmp_path, [str(n) for n in range(12)])


def write_csv(path: Path, content: str) -> str:
    path.write_text(content, encoding="utf-8")
    return str(path)


def load_csv(folder: Path, content: str, **columns: Any) -> Corpus:
    file = write_csv(folder / "a.csv", content)
    return load_classification_corpus(
        ClassificationDataArguments(train_file=file, validation_file=file), ColumnArguments(**columns), seed=1
    )


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("True", "False"), ("TRUE", "FALSE")])
def test_columns_of_decisions(tmp_path: Path, yes: str, no: str) -> None:
    content = f"text,Law,sports\none law,{yes},{no}\na game,{no},{yes}\nnothing,{no},{no}\n"
    corpus = load_csv(tmp_path, content, label_column="law,sports")
    assert labels_of(corpus) == [["Law"], ["sports"], []]
    with pytest.raises(DataError, match="sports is 'maybe'"):
        load_csv(tmp_path, content.replace(f"one law,{yes},{no}", f"one law,{yes},maybe"), label_column="law,sports")


def test_lists_in_cells_of_a_table(tmp_path: Path) -> None:
    content = "text,labels\na b,\"['x', 'y']\"\nc d,\"['y']\"\ne f,[]\n"
    assert labels_of(load_csv(tmp_path, content)) == [["x", "y"], ["y"], []]
    assert labels_of(load_csv(tmp_path, 'text,labels\na b,"[1, 1, 0]"\nc d,"[0, 0, 1]"\n')) == [["0", "1"], ["2"]]


@pytest.mark.parametrize("header", ["Text,Label", " text , label ", "TEXT,LABEL"])
def test_names_of_columns_in_any_case(tmp_path: Path, header: str) -> None:
    assert labels_of(load_csv(tmp_path, f"{header}\na b,x\nc d,y\n")) == ["x", "y"]
    assert labels_of(load_csv(tmp_path, f"{header}\na b,x\nc d,y\n", text_column="text", label_column="label")) == [
        "x",
        "y",
    ]


def test_files_of_other_commands_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--column_names text,label"):
        load_csv(tmp_path, "a fine film,pos\nfar too long,neg\n")
    with pytest.raises(DataError, match=r"single words with tags.*run_ner.py"):
        load_csv(tmp_path, "text,label\nAnn,B-PER\nleft,O\n")
    file = write_csv(tmp_path / "a.jsonl", '{"text": "Ann left", "label": [[0, 3, "PER"]]}\n')
    with pytest.raises(DataError, match=r"holds spans of the text.*run_ner.py"):
        load_classification_corpus(ClassificationDataArguments(train_file=file), ColumnArguments(), seed=1)
    file = write_csv(tmp_path / "b.jsonl", '{"tokens": ["Ann", "left"], "ner_tags": ["B-PER", "O"]}\n')
    with pytest.raises(DataError, match=r"run_ner.py"):
        load_classification_corpus(ClassificationDataArguments(train_file=file), ColumnArguments(), seed=1)


def test_a_pair_that_may_be_none_is_told(tmp_path: Path) -> None:
    corpus = load_csv(tmp_path, "tweet,user,label\na b,u x,p\nc d,v y,n\n")
    assert any(
        "taken as a pair of texts. To read one of them alone, add --text_column tweet" in n for n in corpus.notes
    )
    usual = load_csv(tmp_path, "premise,hypothesis,label\na b,u x,p\nc d,v y,n\n")
    assert not any("pair of texts" in note for note in usual.notes)


@pytest.mark.parametrize(
    "label",
    ["4,6", "40%", "40 %", "1/2", "1.000,5", "1,000.5", "1 000", "1'000.50",
     "$4.50", "4 €", "฿40", "−3", "3 of 5", "3 out of 5", "-4,6"],
)  # fmt: skip
def test_numbers_that_no_program_reads_are_named(tmp_path: Path, label: str) -> None:
    with pytest.raises(DataError, match="looks like a number, and 1 such labels occur"):
        load(tmp_path, [label, "2", "3"])
    assert labels_of(load(tmp_path, [label, "2", "3"], do_regression=False)) == [label, "2", "3"]


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_what_python_writes_is_a_number_as_it_stands(number: float) -> None:
    assert not find_other_numbers([str(number)]) and not find_other_numbers([f"{number:.3f}"])


@pytest.mark.parametrize("label", ["2020-01-02", "1 2", "a 1,000", "v1.2.3", "C++", "B-52", "1st", "top 10"])
def test_names_with_digits_are_names(label: str) -> None:
    assert not find_other_numbers([label])


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["a", "b", "N/A"], "The label 'N/A' (2 rows) is learnt as one like the others"),
        (["a", "b", "null", "null"], "The label 'null' (4 rows)"),
        (["a,b", "a,c", "b,c", "a"], "--label_delimiter ','"),
        (["x | y", "x | z", "y | z"], "--label_delimiter '|'"),
        (["1 star", "2 stars", "3 stars"], "hold numbers, and are learnt as classes"),
        (["grade 1", "grade 2", "grade 3"], "hold numbers, and are learnt as classes"),
    ],
)
def test_labels_that_may_mean_something_else_are_told(tmp_path: Path, labels: list[str], said: str) -> None:
    corpus = load(tmp_path, labels)
    assert labels_of(corpus) == labels and any(said in note for note in corpus.notes)


@pytest.mark.parametrize("labels", [["Arts, Crafts", "Books", "Movies, TV", "Toys"], ["a/c", "b", "c"], ["b1", "b2"]])
def test_of_ordinary_labels_nothing_is_said(tmp_path: Path, labels: list[str]) -> None:
    assert not any("abel" in note for note in load(tmp_path, labels).notes)


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["['a' 'b']", "['b' 'c']"], [["a", "b"], ["b", "c"]]),
        (["[0 1 1]", "[0 0 1]"], [["1", "2"], ["2"]]),
        (["[0. 1. 1.]", "[0. 0. 1.]"], [["1", "2"], ["2"]]),
        (["[True False]", "[False False]"], [["0"], []]),
        (["[\"it's\" 'x']", "['x' 'y']"], [["it's", "x"], ["x", "y"]]),
    ],
)
def test_lists_as_numpy_prints_them(tmp_path: Path, cells: list[str], labels: list[list[str]]) -> None:
    assert labels_of(load(tmp_path, cells)) == labels


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"train.jsonl:2: the label '\[a, b\]' of train looks like a list and cannot be"
    ):
        load(tmp_path, ["['a', 'b']", "[a, b]", "['c']"])


def test_columns_of_decisions_are_named_where_no_label_is(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,good,bad\n" + "".join(f"{text},{n % 2},{1 - n % 2}\n" for n, text in enumerate(TEXTS)))
    with pytest.raises(DataError, match="as --label_column good,bad"):
        load_classification_corpus(ClassificationDataArguments(train_file=str(path)), ColumnArguments(), seed=1)


def test_words_for_empty_cells_among_the_texts_are_counted(tmp_path: Path) -> None:
    rows = [{"text": text, "label": "ab"[n % 2]} for n, text in enumerate([*TEXTS, "nan", "nan", "N/A"])]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    files = ClassificationDataArguments(train_file=str(path), validation_file=str(path))
    corpus = load_classification_corpus(files, ColumnArguments(), seed=1)
    assert any("'nan' (2), 'N/A' (1), which may stand for empty cells" in note for note in corpus.notes)
